// The operators on top of the CUDA kernels, for whatever `Queue` names the stream to use.
#pragma once

#include <array>

#include "../binding.h"
#include "kernels.h"

namespace msda::cuda {

using binding::Inputs;
using torch::stable::Tensor;

inline void check(const char* error) { binding::require(!error, error ? error : ""); }

// Stable sort of a vector: (sorted numbers, where they were).
inline std::array<Tensor, 2> sort(const Tensor& numbers) {
  std::array<StableIValue, 4> stack{
      torch::stable::detail::from(numbers), torch::stable::detail::from(std::optional<bool>(true)),
      torch::stable::detail::from(int64_t(0)), torch::stable::detail::from(false)};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  return {torch::stable::detail::to<Tensor>(stack[0]), torch::stable::detail::to<Tensor>(stack[1])};
}

inline void deterministic_values(const Problem& p, const Gradients& gradients, const Tensor& like,
                                 void* stream) {
  const int64_t count = p.batch * p.heads * p.queries * p.levels * p.points * 4;
  const auto wide = binding::wide(like.scalar_type());
  Tensor rows = torch::stable::new_empty(like, {count}, torch::headeronly::ScalarType::Long);
  Tensor weights = torch::stable::new_empty(like, {count}, wide);
  check(list_corners(p, static_cast<int64_t*>(rows.mutable_data_ptr()),
                     weights.mutable_data_ptr(), stream));
  const auto [sorted, corners] = sort(rows);
  check(sum_corners(p, gradients, static_cast<const int64_t*>(sorted.const_data_ptr()),
                    static_cast<const int64_t*>(corners.const_data_ptr()),
                    weights.const_data_ptr(), stream));
}

// How the values' gradient is summed: by 'reductions' in global memory, one for each corner, or
// with those of 'tiles' of queries summed first, or 'sorted', in a fixed order. 'auto' is one of
// the first two.
enum class Method { automatic, reductions, tiles, sorted };

inline Method method_of(const std::string& name) {
  if (name == "auto") return Method::automatic;
  if (name == "reductions") return Method::reductions;
  if (name == "tiles") return Method::tiles;
  binding::require(name == "sorted", "method is '", name,
                   "'; expected 'auto', 'reductions', 'tiles' or 'sorted'");
  return Method::sorted;
}

inline void all_gradients(const Problem& p, const Gradients& gradients, const Tensor& like,
                          Method method, void* stream) {
  if (method == Method::sorted) {
    check(backward(p, gradients, nullptr, stream));
    deterministic_values(p, gradients, like, stream);
    return;
  }
  const bool narrow = p.type == Type::bfloat16 || p.type == Type::float16;
  Tensor copy = like;  // 16-bit values are summed in float32
  void* sums = gradients.value;
  if (narrow) {
    copy = torch::stable::new_zeros(like, {p.batch, p.rows, p.heads, p.channels},
                                    binding::wide(like.scalar_type()));
    sums = copy.mutable_data_ptr();
  } else {
    check(clear(sums, like.numel() * int64_t(like.element_size()), stream));
  }
  if (method == Method::tiles || (method == Method::automatic && worth_tiles(p))) {
    check(backward(p, gradients, nullptr, stream));
    check(add_by_tiles(p, gradients, sums, stream));
  } else {
    check(backward(p, gradients, sums, stream));
  }
  if (narrow) check(round_sums(p.type, sums, gradients.value, copy.numel(), stream));
}

// The `Device` of binding.h.
template <class Queue>
struct Operators {
  Method method = Method::automatic;

  void forward(const Problem& problem, void* output, const Tensor& like) const {
    const Queue queue(like);
    check(cuda::forward(problem, output, queue.stream()));
  }
  void backward(const Problem& problem, const Gradients& gradients, const Tensor& like) const {
    const Queue queue(like);
    all_gradients(problem, gradients, like, method, queue.stream());
  }
};

using Result = std::tuple<Tensor, Tensor, Tensor>;

template <class Queue>
Result attend_backward(Tensor grad_output, Tensor value, std::vector<int64_t> shapes,
                       Tensor locations, Tensor weights, std::string method) {
  return binding::attend_backward(Operators<Queue>{method_of(method)}, grad_output, value,
                                  std::move(shapes), locations, weights);
}

template <class Queue>
Result attend_fused_backward(Tensor grad_output, Tensor value, std::vector<int64_t> shapes,
                             Tensor reference, Tensor offsets, Tensor logits,
                             std::string method) {
  return binding::attend_fused_backward(Operators<Queue>{method_of(method)}, grad_output, value,
                                        std::move(shapes), reference, offsets, logits);
}

// The backward operators of library.py that are told the method.
template <class Queue>
void register_operators(torch::stable::detail::StableLibrary& m) {
  using Device = Operators<Queue>;
  m.impl("ms_deform_attn", TORCH_BOX(&binding::attend<Device>));
  m.impl("ms_deform_attn_fused", TORCH_BOX(&binding::attend_fused<Device>));
  m.impl("ms_deform_attn_backward_cuda", TORCH_BOX(&attend_backward<Queue>));
  m.impl("ms_deform_attn_fused_backward_cuda", TORCH_BOX(&attend_fused_backward<Queue>));
}

}  // namespace msda::cuda
