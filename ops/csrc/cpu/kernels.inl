// All kernels of one instruction set, in a namespace of its own: the same source is compiled for
// each, with MSDA_ISA (the namespace) and MSDA_LANES (floats in a vector register) set. Vectors are
// the compilers' vector extension (GCC, Clang), so there is no code for one processor in here.
#include "vectors.inl"
// after the vectors
#include "points.inl"
// after the points
#include "rows.inl"
// after the rows
#include "drivers.inl"
