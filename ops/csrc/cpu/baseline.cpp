// The kernels for any processor: four floats at a time.
// Standard headers come before the target pragma: their inline functions must stay baseline code.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>

#include "kernels.h"

#define MSDA_ISA baseline
#define MSDA_LANES 4
#include "kernels.inl"
