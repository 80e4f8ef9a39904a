// Stands before every translated file: torch's headers as a CPU build has them, then CUDA as it is here. The operators are
// registered for CPU tensors, in a library of their own beside the package's.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cuda_runtime.h>

#define USE_CUDA
#define __CUDA_ARCH__ 900  // the device's half of csrc/math

namespace emulated {

struct DeviceGuard {
  explicit DeviceGuard(int) {}
};

inline int current_stream(int, void** stream) {
  *stream = nullptr;
  return 0;
}

}  // namespace emulated

namespace torch::stable::accelerator {
using EmulatedGuard = emulated::DeviceGuard;
}

#define DeviceGuard EmulatedGuard
#define aoti_torch_get_current_cuda_stream ::emulated::current_stream

#undef STABLE_TORCH_LIBRARY_IMPL
#define STABLE_TORCH_LIBRARY_IMPL(library, device, variable) \
  _STABLE_TORCH_LIBRARY_IMPL(spectac_fast_emulated, CPU, variable, C10_UID)

#undef STD_CUDA_CHECK
#define STD_CUDA_CHECK(call) \
  if (const int code = (call)) throw std::runtime_error("CUDA error " + std::to_string(code))
#undef STD_CUDA_KERNEL_LAUNCH_CHECK
#define STD_CUDA_KERNEL_LAUNCH_CHECK() STD_CUDA_CHECK(cudaGetLastError())
