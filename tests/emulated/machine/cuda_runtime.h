// CUDA C++ and its runtime, as far as csrc/ uses them, for a host compiler.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>

#include "machine.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

#define threadIdx (::emulated::thread_index())
#define blockIdx (::emulated::block_index())
#define blockDim (::emulated::block_size())
#define gridDim (::emulated::grid_size())

using std::max;
using std::min;

struct dim3 : emulated::Index {
  dim3(uint32_t x = 1, uint32_t y = 1, uint32_t z = 1) : Index{x, y, z} {}
};

namespace emulated {

inline void check_alignment(const void* p, size_t bytes) {
  // The compiler believes that such types are aligned, and would leave the question out.
  asm volatile("" : "+r"(p));
  if (reinterpret_cast<uintptr_t>(p) % bytes) fail("misaligned access of " + std::to_string(bytes) + " bytes");
}

// A vector moves as a whole, so its address must suit its size.
template <class T, size_t kBytes>
struct alignas(kBytes) Vector2 {
  T x, y;
  Vector2() = default;
  Vector2(T x, T y) : x(x), y(y) {}
  Vector2(const Vector2& o) : x((check_alignment(&o, kBytes), o.x)), y(o.y) {}
  Vector2& operator=(const Vector2& o) {
    check_alignment(this, kBytes);
    x = o.x, y = o.y;
    return *this;
  }
};

template <class T, size_t kBytes>
struct alignas(kBytes) Vector4 {
  T x, y, z, w;
  Vector4() = default;
  Vector4(T x, T y, T z, T w) : x(x), y(y), z(z), w(w) {}
  Vector4(const Vector4& o) : x((check_alignment(&o, kBytes), o.x)), y(o.y), z(o.z), w(o.w) {}
  Vector4& operator=(const Vector4& o) {
    check_alignment(this, kBytes);
    x = o.x, y = o.y, z = o.z, w = o.w;
    return *this;
  }
};

template <class T, class... Values>
void store(void* to, Values... values) {
  check_alignment(to, sizeof(T) * sizeof...(Values));
  T* p = static_cast<T*>(to);
  ((*p++ = values), ...);
}

template <class T>
T of_lane(uint32_t mask, T value, uint32_t lane, Site site) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  const uint64_t found = exchange(mask, bits, site)[lane];
  std::memcpy(&value, &found, sizeof value);
  return value;
}

inline float flushed(float v) { return std::fpclassify(v) == FP_SUBNORMAL ? std::copysign(0.0f, v) : v; }

// ex2.approx.ftz.f32
inline float exp2_approximately(float t) { return flushed(approximate(std::exp2(double(flushed(t))))); }

// cvt.f32.f16 and cvt.rn.f16.f32
inline float from_half(uint16_t h) { return float(std::bit_cast<_Float16>(h)); }
inline uint16_t to_half(float v) { return std::isnan(v) ? 0x7fff : std::bit_cast<uint16_t>(_Float16(v)); }

// cvt.rn.bf16.f32: the nearer of the two neighbours, of equally near ones that whose last bit is zero.
inline uint16_t to_brain(float v) {
  if (std::isnan(v)) return 0x7fff;
  const uint32_t bits = std::bit_cast<uint32_t>(v), below = bits & 0xffff0000u, above = below + 0x10000u;
  const auto size_of = [](uint32_t b) { return b << 1 == 0xff000000u ? 0x1p128 : std::fabs(double(std::bit_cast<float>(b))); };
  const double up = size_of(above) - size_of(bits), down = size_of(bits) - size_of(below);
  const bool odd = below >> 16 & 1;
  return uint16_t((std::isfinite(v) && (up < down || (up == down && odd)) ? above : below) >> 16);
}

// cvt.rn.f16x2.f32 and cvt.rn.bf16x2.f32: the first operand goes into the upper half.
inline uint32_t to_halves(float high, float low) { return uint32_t(to_half(high)) << 16 | to_half(low); }
inline uint32_t to_brains(float high, float low) { return uint32_t(to_brain(high)) << 16 | to_brain(low); }

template <class T>
T& shared(Site site = Site::current()) {
  return *static_cast<T*>(shared_variable(sizeof(T), alignof(T), site));
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, void* /* stream */,
            const Arguments&... arguments) {
  const std::tuple<std::decay_t<Parameters>...> kept(arguments...);
  launch(reinterpret_cast<const void*>(kernel), grid, block, shared, [&] { std::apply(kernel, kept); });
}

}  // namespace emulated

using float2 = emulated::Vector2<float, 8>;
using uint2 = emulated::Vector2<uint32_t, 8>;
using float4 = emulated::Vector4<float, 16>;
using uint4 = emulated::Vector4<uint32_t, 16>;
using uchar4 = emulated::Vector4<uint8_t, 4>;
using ushort4 = emulated::Vector4<uint16_t, 8>;

inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline void __syncthreads(emulated::Site site = emulated::Site::current()) { emulated::synchronise(site); }

template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int step, emulated::Site site = emulated::Site::current()) {
  return emulated::of_lane(mask, value, threadIdx.x % 32 ^ uint32_t(step), site);
}

template <class T>
T __shfl_down_sync(uint32_t mask, T value, int step, emulated::Site site = emulated::Site::current()) {
  const uint32_t lane = threadIdx.x % 32, from = lane + uint32_t(step);
  return emulated::of_lane(mask, value, from < 32 ? from : lane, site);
}

inline int __reduce_add_sync(uint32_t mask, int value, emulated::Site site = emulated::Site::current()) {
  const uint64_t* values = emulated::exchange(mask, uint32_t(value), site);
  uint32_t sum = 0;
  for (int lane = 0; lane < 32; ++lane) sum += mask >> lane & 1 ? uint32_t(values[lane]) : 0u;
  return int(sum);
}

template <class T>
T __ldg(const T* p) {
  return *p;
}

template <class T>
T atomicAdd(T* p, T value) {
  return __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
}

// What is written so is not to be fused with what follows.
inline float __fmul_rn(float a, float b) {
  float product = a * b;
  asm volatile("" : "+m"(product));
  return product;
}

inline float __fadd_rn(float a, float b) {
  float sum = a + b;
  asm volatile("" : "+m"(sum));
  return sum;
}

// 0 for divisors above 2^126, as the programming guide has it.
inline float __fdividef(float a, float b) {
  return std::isfinite(b) && std::fabs(b) > 0x1p126f ? a * 0.0f : emulated::approximate(double(a) / double(b));
}

using cudaStream_t = void*;
using cudaError_t = int;
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount };

inline cudaError_t cudaGetLastError() { return emulated::last_error(); }

inline cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t) {
  std::memset(p, value, bytes);
  return 0;
}

// A small GPU, so that a test fills it.
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return 0;
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 2;
  return 0;
}
