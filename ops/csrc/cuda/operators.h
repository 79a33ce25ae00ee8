// The operators on top of the CUDA kernels, for whatever `Queue` names the stream to use.
#pragma once

#include <array>

#include "../binding.h"
#include "kernels.h"

namespace msda::cuda {

using binding::Inputs;
using torch::stable::Tensor;

inline void check(const char* error) { STD_TORCH_CHECK(!error, "msda: ", error); }

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

inline void all_gradients(const Problem& p, const Gradients& gradients, const Tensor& like,
                          bool deterministic, void* stream) {
  if (deterministic) {
    check(backward(p, gradients, nullptr, stream));
    deterministic_values(p, gradients, like, stream);
    return;
  }
  if (p.type == Type::float32 || p.type == Type::float64) {
    check(clear(gradients.value, like.numel() * int64_t(like.element_size()), stream));
    check(backward(p, gradients, gradients.value, stream));
    return;
  }
  const auto wide = binding::wide(like.scalar_type());
  Tensor sums = torch::stable::new_zeros(like, {p.batch, p.rows, p.heads, p.channels}, wide);
  check(backward(p, gradients, sums.mutable_data_ptr(), stream));
  check(round_sums(p.type, sums.const_data_ptr(), gradients.value, sums.numel(), stream));
}

// The `Device` of binding.h.
template <class Queue, bool Deterministic>
struct Operators {
  static void forward(const Problem& problem, void* output, const Tensor& like) {
    const Queue queue(like);
    check(cuda::forward(problem, output, queue.stream()));
  }
  static void backward(const Problem& problem, const Gradients& gradients, const Tensor& like) {
    const Queue queue(like);
    all_gradients(problem, gradients, like, Deterministic, queue.stream());
  }
};

using Result = std::tuple<Tensor, Tensor, Tensor>;

template <class Queue>
Result attend_backward(Tensor grad_output, Tensor value, std::vector<int64_t> shapes,
                       Tensor locations, Tensor weights, bool deterministic) {
  return deterministic ? binding::attend_backward<Operators<Queue, true>>(
                             grad_output, value, std::move(shapes), locations, weights)
                       : binding::attend_backward<Operators<Queue, false>>(
                             grad_output, value, std::move(shapes), locations, weights);
}

template <class Queue>
Result attend_fused_backward(Tensor grad_output, Tensor value, std::vector<int64_t> shapes,
                             Tensor reference, Tensor offsets, Tensor logits, bool deterministic) {
  return deterministic ? binding::attend_fused_backward<Operators<Queue, true>>(
                             grad_output, value, std::move(shapes), reference, offsets, logits)
                       : binding::attend_fused_backward<Operators<Queue, false>>(
                             grad_output, value, std::move(shapes), reference, offsets, logits);
}

// The backward operators of library.py that are told whether to be deterministic.
template <class Queue>
void register_operators(torch::stable::detail::StableLibrary& m) {
  using Device = Operators<Queue, false>;
  m.impl("ms_deform_attn", TORCH_BOX(&binding::attend<Device>));
  m.impl("ms_deform_attn_fused", TORCH_BOX(&binding::attend_fused<Device>));
  m.impl("ms_deform_attn_backward_cuda", TORCH_BOX(&attend_backward<Queue>));
  m.impl("ms_deform_attn_fused_backward_cuda", TORCH_BOX(&attend_fused_backward<Queue>));
}

}  // namespace msda::cuda
