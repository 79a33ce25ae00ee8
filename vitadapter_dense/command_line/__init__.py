"""What the tools share: configurations, arguments, the environment, the files of a run."""
