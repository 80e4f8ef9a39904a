// One arithmetic for host and device. Files in this folder know neither torch nor the CUDA runtime.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define SF_HD __host__ __device__ __forceinline__
#else
#define SF_HD inline __attribute__((always_inline))
#endif

// Compiles a function once per vector width and picks the widest at load time, so that one binary suits every machine.
// Put it on the function that holds the loop: what is inlined into it is widened with it. With SPECTAC_FAST_AVX2 defined
// a build has nothing wider than AVX2, so that a machine with more can be measured as one without.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__)
#ifdef SPECTAC_FAST_AVX2
#define SF_WIDE __attribute__((target_clones("default", "arch=x86-64-v3")))
#else
#define SF_WIDE __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#endif
#else
#define SF_WIDE
#endif

namespace sf {

template <class To, class From>
SF_HD To bits_as(From value) {
  static_assert(sizeof(To) == sizeof(From), "bits_as keeps the number of bits");
  To result;
  memcpy(&result, &value, sizeof result);
  return result;
}

// Written out, because whether a * b + c is fused is otherwise each compiler's choice and the back ends would drift apart.
SF_HD float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

// Of vectors of floats, for which there is no built-in one; b and c may be single numbers.
template <class Lanes, class B, class C>
  requires(sizeof(Lanes) > sizeof(double))
SF_HD Lanes fma(Lanes a, B b, C c) {
  return a * b + c;
}

}  // namespace sf
