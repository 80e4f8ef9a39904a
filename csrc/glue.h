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
#include <initializer_list>
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

// What numbers the noise: a word of the counter.
inline bool is_counter(int64_t value) { return 0 <= value && value <= 0xffffffffll; }

using Shape = std::initializer_list<int64_t>;

inline bool has_shape(const Tensor& t, Shape shape) {
  if (t.dim() != int64_t(shape.size())) return false;
  int64_t dim = 0;
  for (const int64_t side : shape)
    if (t.size(dim++) != side) return false;
  return true;
}

inline void check_device(const Tensor& t, const Tensor& like, const char* op, const char* name) {
  STD_TORCH_CHECK(t.is_cuda() == like.is_cuda() && t.get_device_index() == like.get_device_index(), op, ": ", name,
                  " must be on the device of the first argument.");
}

inline void check_dense(const Tensor& t, int64_t numel, const char* op, const char* name) {
  STD_TORCH_CHECK(t.is_contiguous(), op, ": ", name, " must be contiguous.");
  STD_TORCH_CHECK(t.numel() == numel, op, ": ", name, " must have ", numel, " elements, found ", t.numel(), ".");
}

// Of the shape and device of `like`, its elements one after the other.
inline void check_like(const Tensor& t, const Tensor& like, const char* op, const char* name) {
  STD_TORCH_CHECK(t.is_contiguous(), op, ": ", name, " must be contiguous.");
  STD_TORCH_CHECK(t.sizes() == like.sizes(), op, ": ", name, " must have the shape of the first argument.");
  check_device(t, like, op, name);
}

// Pointer to a dense tensor of T with so many elements; const_data_ptr checks the type.
template <class T>
const T* read_from(const Tensor& t, int64_t numel, const char* op, const char* name) {
  check_dense(t, numel, op, name);
  return t.const_data_ptr<T>();
}

template <class T>
const T* read_like(const MaybeTensor& t, const Tensor& like, const char* op, const char* name) {
  if (!t) return nullptr;
  check_like(*t, like, op, name);
  return t->const_data_ptr<T>();
}

// Of a shape of its own, on the device of `like`.
template <class T>
const T* read_shaped(const MaybeTensor& t, Shape shape, const Tensor& like, const char* op, const char* name) {
  if (!t) return nullptr;
  STD_TORCH_CHECK(t->is_contiguous() && has_shape(*t, shape), op, ": ", name, " must be contiguous and fit the others.");
  check_device(*t, like, op, name);
  return t->const_data_ptr<T>();
}

template <class T>
T* write_to(const Tensor& t, int64_t numel, const char* op, const char* name) {
  check_dense(t, numel, op, name);
  return t.mutable_data_ptr<T>();
}

template <class T>
T* write_shaped(const MaybeTensor& t, Shape shape, const Tensor& like, const char* op, const char* name) {
  return const_cast<T*>(read_shaped<T>(t, shape, like, op, name));
}

template <class T>
T* write_like(const MaybeTensor& t, const Tensor& like, const char* op, const char* name) {
  if (!t) return nullptr;
  check_like(*t, like, op, name);
  return t->mutable_data_ptr<T>();
}

// Where a tensor lies: blocks of so many bytes, `step` bytes from the beginning of one to that of the next.
struct Place {
  uint64_t first, block, step;
  int64_t count;

  bool none() const { return block == 0 || count == 0; }
  uint64_t past() const { return first + uint64_t(count - 1) * step + block; }
};

inline Place place_of(const Tensor& t) {
  return {uint64_t(t.const_data_ptr()), uint64_t(t.numel()) * t.element_size(), 0, 1};
}

inline Place place_of(const MaybeTensor& t) { return t ? place_of(*t) : Place{0, 0, 0, 0}; }

// Of a tensor whose slices, what is left without the first dimension, are one block each, wherever they begin.
inline Place place_of_slices(const Tensor& t, const char* op, const char* name) {
  int64_t dense = 1;
  for (int64_t dim = t.dim() - 1; dim >= 1; dense *= t.size(dim), --dim)
    STD_TORCH_CHECK(t.size(dim) == 1 || t.stride(dim) == dense, op, ": ", name, " must hold each slice in one block.");
  const uint64_t size = t.element_size();
  return {uint64_t(t.const_data_ptr()), uint64_t(dense) * size, uint64_t(t.stride(0)) * size, t.size(0)};
}

// Of slices that are written: no two of them share memory.
inline Place place_to_write(const Tensor& t, const char* op, const char* name) {
  const Place place = place_of_slices(t, op, name);
  STD_TORCH_CHECK(place.count < 2 || place.step >= place.block, op, ": ", name, " must hold each slice in one block.");
  return place;
}

// Whether two tensors have a byte in common, of which one should be a single block: where both have gaps, one between
// the gaps of the other counts as sharing.
inline bool share(const Place& a, const Place& b) {
  if (a.none() || b.none() || a.past() <= b.first || b.past() <= a.first) return false;
  const Place &whole = a.count == 1 ? a : b, &blocks = a.count == 1 ? b : a;
  if (whole.count > 1 || blocks.count == 1 || blocks.step == 0) return true;
  // The first block that ends behind the beginning of the whole.
  const uint64_t end = blocks.first + blocks.block;
  const uint64_t at = whole.first < end ? 0 : (whole.first - end) / blocks.step + 1;
  return at < uint64_t(blocks.count) && blocks.first + at * blocks.step < whole.past();
}

// No tensor that is written may share memory with another.
inline void check_apart(const char* op, std::initializer_list<Place> read, std::initializer_list<Place> written) {
  for (const Place* w = written.begin(); w != written.end(); ++w) {
    for (const Place& r : read)
      STD_TORCH_CHECK(!share(r, *w), op, ": what is written must not share memory with what is read.");
    for (const Place* other = written.begin(); other != w; ++other)
      STD_TORCH_CHECK(!share(*other, *w), op, ": what is written must not share memory with each other.");
  }
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
