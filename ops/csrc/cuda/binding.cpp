// Registers the CUDA kernels: on the tensor's own device and its current stream.
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

#include "operators.h"

namespace {

class Queue {
 public:
  explicit Queue(const torch::stable::Tensor& like)
      : guard_(like.get_device_index()), device_(like.get_device_index()) {}

  void* stream() const {
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device_, &stream));
    return stream;
  }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  int32_t device_;
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(msda, CUDA, m) { msda::cuda::register_operators<Queue>(m); }
