// The only file that knows torch: tensors in, checked plain pointers out.
#pragma once

#ifdef USE_CUDA
#include <cuda_runtime.h>
#endif
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <optional>

#include "math/half.h"

namespace sf {

using Tensor = torch::stable::Tensor;
using MaybeTensor = std::optional<Tensor>;

inline NetType net_type(const Tensor& t, const char* op, const char* name) {
  using torch::headeronly::ScalarType;
  switch (t.scalar_type()) {
    case ScalarType::Float: return NetType::float32;
    case ScalarType::BFloat16: return NetType::bfloat16;
    case ScalarType::Half: return NetType::float16;
    default: STD_TORCH_CHECK(false, op, ": ", name, " must be float32, bfloat16 or float16.");
  }
}

inline void check_dense(const Tensor& t, int64_t numel, const char* op, const char* name) {
  STD_TORCH_CHECK(t.is_contiguous(), op, ": ", name, " must be contiguous.");
  STD_TORCH_CHECK(t.numel() == numel, op, ": ", name, " must have ", numel, " elements, found ", t.numel(), ".");
}

// Pointer to a dense tensor of T with so many elements; const_data_ptr checks the type.
template <class T>
const T* read_from(const Tensor& t, int64_t numel, const char* op, const char* name) {
  check_dense(t, numel, op, name);
  return t.const_data_ptr<T>();
}

template <class T>
const T* read_from(const MaybeTensor& t, int64_t numel, const char* op, const char* name) {
  return t ? read_from<T>(*t, numel, op, name) : nullptr;
}

template <class T>
T* write_to(const Tensor& t, int64_t numel, const char* op, const char* name) {
  check_dense(t, numel, op, name);
  return t.mutable_data_ptr<T>();
}

template <class T>
T* write_to(const MaybeTensor& t, int64_t numel, const char* op, const char* name) {
  return t ? write_to<T>(*t, numel, op, name) : nullptr;
}

// Whether channels lie side by side and rows of them follow each other.
inline bool is_channels_last(const Tensor& t) {
  int64_t dense = 1;
  const auto follows = [&](int64_t dim) {
    const bool fits = t.size(dim) == 1 || t.stride(dim) == dense;
    dense *= t.size(dim);
    return fits;
  };
  bool fits = follows(1);
  for (int64_t dim = t.dim() - 1; dim >= 2; --dim) fits = fits && follows(dim);
  return fits && follows(0);
}

#ifdef USE_CUDA
// The stream torch is using now: the default one would break graph capture and side streams.
inline cudaStream_t current_stream(const Tensor& t) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(t.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}
#endif

}  // namespace sf
