"""The tests, as a package: a distribution in the environment installs another `tests`."""
