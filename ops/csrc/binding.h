// From torch's tensors to the kernels' plain structs, through torch's stable ABI (2.10 and newer).
//
// The Python functions check arguments in the users' terms. The checks here are the last line of
// defence for whoever calls torch.ops.msda directly: a wrong shape raises, and never reads out of
// bounds.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <initializer_list>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "msda.h"

namespace msda::binding {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline std::string text(const std::string& part) { return part; }
inline std::string text(int64_t part) { return std::to_string(part); }

inline std::string text(const Tensor& tensor) {
  std::string sizes;
  for (int64_t i = 0; i < tensor.dim(); ++i) {
    sizes += (i ? ", " : "") + std::to_string(tensor.size(i));
  }
  return "(" + sizes + ")";
}

// Raises RuntimeError with the parts as its message. Not by STD_TORCH_CHECK, whose streams crash in
// a library that some compiler has linked with a C++ library of its own beside torch's.
template <class... Parts>
void require(bool fits, const Parts&... parts) {
  if (!fits) throw std::runtime_error(("msda: " + ... + text(parts)));
}

inline Type type_of(const Tensor& value) {
  switch (value.scalar_type()) {
    case ScalarType::Float: return Type::float32;
    case ScalarType::Double: return Type::float64;
    case ScalarType::BFloat16: return Type::bfloat16;
    case ScalarType::Half: return Type::float16;
    default: break;
  }
  throw std::runtime_error("msda: value must be float32, float64, bfloat16 or float16");
}

inline ScalarType wide(ScalarType type) {
  return type == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// Raises unless the tensor fits; -1 stands for any size.
inline void expect(const char* name, const Tensor& tensor, const Tensor& value, ScalarType type,
                   std::initializer_list<int64_t> sizes) {
  bool fits = tensor.dim() == int64_t(sizes.size());
  int64_t i = 0;
  for (int64_t size : sizes) {
    fits = fits && (size < 0 || tensor.size(i) == size);
    ++i;
  }
  if (!fits) {
    std::string wanted;
    for (int64_t size : sizes) {
      wanted += (wanted.empty() ? "" : ", ") + (size < 0 ? "any" : std::to_string(size));
    }
    require(false, name, " has shape ", tensor, "; expected (", wanted, ")");
  }
  require(tensor.scalar_type() == type, "the dtype of ", name,
          " does not fit the dtype of value (coordinates beside 16-bit values are float32)");
  require(tensor.is_cpu() == value.is_cpu() &&
              tensor.get_device_index() == value.get_device_index(),
          name, " and value are on different devices");
}

// The tensor itself if everything from dimension `first` on lies densely, else a dense copy.
inline Tensor dense_from(const Tensor& tensor, int64_t first) {
  int64_t dense = 1;
  for (int64_t i = tensor.dim() - 1; i >= first; --i) {
    if (tensor.size(i) != 1 && tensor.stride(i) != dense) return torch::stable::contiguous(tensor);
    dense *= tensor.size(i);
  }
  return tensor;
}

// A checked problem, and the tensors that its pointers point into.
struct __attribute__((visibility("hidden"))) Inputs {
  std::vector<int64_t> shapes;
  std::vector<Tensor> kept;
  Problem problem{};

  Inputs(const Tensor& value, std::vector<int64_t> spatial_shapes, const Tensor* reference,
         const Tensor& coordinates, const Tensor& weights)
      : shapes(std::move(spatial_shapes)) {
    Problem& p = problem;
    p.type = type_of(value);
    p.fused = reference != nullptr;
    require(value.dim() == 4, "value has shape ", value, "; expected (B, S, M, D)");
    p.batch = value.size(0), p.rows = value.size(1), p.heads = value.size(2);
    p.channels = value.size(3);
    require(shapes.size() % 2 == 0, "spatial_shapes has ", shapes.size(),
            " numbers; expected H0, W0, H1, W1, ...");
    p.levels = int64_t(shapes.size() / 2);
    p.shapes = shapes.data();
    constexpr int64_t limit = int64_t(1) << 31;
    int64_t total = 0;
    for (int64_t level = 0; level < p.levels; ++level) {
      const int64_t height = shapes[2 * level], width = shapes[2 * level + 1];
      require(height >= 0 && width >= 0 && height < limit && width < limit &&
                  (width == 0 || height <= limit / width),
              "level ", level, " of ", height, " x ", width,
              " is not a map of fewer than 2^31 pixels");
      total += height * width;
    }
    require(total == p.rows && total < limit, "spatial_shapes add up to ", total,
            " pixels, but value has ", p.rows, " rows (fewer than 2^31 are needed)");

    const char* names[] = {p.fused ? "sampling_offsets" : "sampling_locations",
                           p.fused ? "attention_logits" : "attention_weights"};
    const ScalarType type = value.scalar_type();
    expect(names[0], coordinates, value, p.fused ? type : wide(type),
           {p.batch, -1, p.heads, p.levels, -1, 2});
    p.queries = coordinates.size(1), p.points = coordinates.size(4);
    if (p.fused) {
      expect(names[1], weights, value, type, {p.batch, p.queries, p.heads, p.levels * p.points});
    } else {
      expect(names[1], weights, value, type, {p.batch, p.queries, p.heads, p.levels, p.points});
    }
    const Tensor& rows = keep(value, 2);
    p.value = rows.const_data_ptr();
    p.value_batch = rows.stride(0), p.value_row = rows.stride(1);
    const Tensor& xy = keep(coordinates, 2);
    p.coordinates = xy.const_data_ptr();
    p.coordinates_batch = xy.stride(0), p.coordinates_query = xy.stride(1);
    const Tensor& shares = keep(weights, 2);
    p.weights = shares.const_data_ptr();
    p.weights_batch = shares.stride(0), p.weights_query = shares.stride(1);
    if (p.fused) set_reference(*reference, value);
  }

  // Whether there is nothing to sum: outputs are then empty or zero.
  bool empty() const {
    return problem.batch * problem.queries * problem.heads * problem.channels == 0 ||
           problem.rows * problem.points == 0;
  }

 private:
  const Tensor& keep(const Tensor& tensor, int64_t first) {
    kept.reserve(4);
    kept.push_back(dense_from(tensor, first));
    return kept.back();
  }

  void set_reference(const Tensor& reference, const Tensor& value) {
    Problem& p = problem;
    expect("reference_points", reference, value, wide(value.scalar_type()),
           {-1, p.queries, -1, -1});
    const int64_t batch = reference.size(0), levels = reference.size(2), size = reference.size(3);
    require((batch == 1 || batch == p.batch) && (levels == 1 || levels == p.levels) &&
                (size == 2 || size == 4),
            "reference_points has shape ", reference, "; expected (1|B, Lq, 1|L, 2|4)");
    const Tensor& points = keep(reference, 3);
    p.reference = points.const_data_ptr();
    p.reference_batch = batch == 1 ? 0 : points.stride(0);
    p.reference_query = points.stride(1);
    p.reference_level = levels == 1 ? 0 : points.stride(2);
    p.reference_size = size;
  }
};

inline Tensor checked_grad_output(const Tensor& grad_output, const Tensor& value,
                                  const Problem& p) {
  expect("grad_output", grad_output, value, value.scalar_type(),
         {p.batch, p.queries, p.heads * p.channels});
  return torch::stable::contiguous(grad_output);
}

// A dense tensor in the dtype and on the device of `like`.
inline Tensor zeros(const Tensor& like, const std::vector<int64_t>& sizes) {
  return torch::stable::new_zeros(like, sizes);
}
inline Tensor uninitialised(const Tensor& like, const std::vector<int64_t>& sizes) {
  return torch::stable::new_empty(like, sizes);
}
inline std::vector<int64_t> sizes_of(const Tensor& tensor) {
  std::vector<int64_t> sizes;
  for (int64_t i = 0; i < tensor.dim(); ++i) sizes.push_back(tensor.size(i));
  return sizes;
}

// --- the four operators, given what runs a problem ----------------------------------------------
// A `Device` has forward(problem, output, like) and backward(problem, gradients, like), which fill
// every element of their outputs; `like` tells the device.

template <class Device>
Tensor run_forward(const Inputs& inputs, const Tensor& value) {
  const Problem& p = inputs.problem;
  const std::vector<int64_t> sizes{p.batch, p.queries, p.heads * p.channels};
  if (inputs.empty()) return zeros(value, sizes);
  Tensor output = uninitialised(value, sizes);
  Device{}.forward(p, output.mutable_data_ptr(), value);
  return output;
}

template <class Device>
std::tuple<Tensor, Tensor, Tensor> run_backward(const Device& device, const Inputs& inputs,
                                                const Tensor& grad_output, const Tensor& value,
                                                const Tensor& coordinates,
                                                const Tensor& weights) {
  const Problem& p = inputs.problem;
  const Tensor grad = checked_grad_output(grad_output, value, p);
  if (inputs.empty()) {
    return {zeros(value, sizes_of(value)), zeros(coordinates, sizes_of(coordinates)),
            zeros(weights, sizes_of(weights))};
  }
  Tensor grad_value = uninitialised(value, sizes_of(value));
  Tensor grad_coordinates = uninitialised(coordinates, sizes_of(coordinates));
  Tensor grad_weights = uninitialised(weights, sizes_of(weights));
  device.backward(p,
                  {grad.const_data_ptr(), grad_value.mutable_data_ptr(),
                   grad_coordinates.mutable_data_ptr(), grad_weights.mutable_data_ptr()},
                  value);
  return {grad_value, grad_coordinates, grad_weights};
}

template <class Device>
Tensor attend(Tensor value, std::vector<int64_t> shapes, Tensor locations, Tensor weights) {
  return run_forward<Device>(Inputs(value, std::move(shapes), nullptr, locations, weights), value);
}

template <class Device>
Tensor attend_fused(Tensor value, std::vector<int64_t> shapes, Tensor reference, Tensor offsets,
                    Tensor logits) {
  return run_forward<Device>(Inputs(value, std::move(shapes), &reference, offsets, logits), value);
}

template <class Device>
std::tuple<Tensor, Tensor, Tensor> attend_backward(const Device& device, Tensor grad_output,
                                                   Tensor value, std::vector<int64_t> shapes,
                                                   Tensor locations, Tensor weights) {
  const Inputs inputs(value, std::move(shapes), nullptr, locations, weights);
  return run_backward(device, inputs, grad_output, value, locations, weights);
}

template <class Device>
std::tuple<Tensor, Tensor, Tensor> attend_fused_backward(const Device& device, Tensor grad_output,
                                                         Tensor value, std::vector<int64_t> shapes,
                                                         Tensor reference, Tensor offsets,
                                                         Tensor logits) {
  const Inputs inputs(value, std::move(shapes), &reference, offsets, logits);
  return run_backward(device, inputs, grad_output, value, offsets, logits);
}

}  // namespace msda::binding
