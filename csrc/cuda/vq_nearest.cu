// vq_nearest on CUDA. A block searches for a few tokens at once, each thread among its share of the codes; the codebook
// stays in the caches, and no distance ever leaves a register.
#include <cuda_runtime.h>

#include "cuda/tile.cuh"
#include "vq_nearest.h"

namespace sf {
namespace {

constexpr int kThreads = 128;
constexpr int kTokens = 8;         // of a block: as often is a code used once it is loaded
constexpr int64_t kMaxDim = 1024;  // the tokens lie in shared memory

__device__ __forceinline__ uint64_t least_of_warp(uint64_t v) {
#pragma unroll
  for (int lane = 16; lane >= 1; lane /= 2) {
    const uint64_t other = __shfl_xor_sync(0xffffffffu, v, lane);
    v = other < v ? other : v;
  }
  return v;
}

__device__ __forceinline__ float element(const void* p, NetType type, int64_t at) {
  return load<false>(p, type, at, 1).v[0];
}

// kVector: the dimension is a multiple of four and codes are aligned to it.
template <bool kVector>
__global__ void __launch_bounds__(kThreads) nearest_kernel(const __grid_constant__ NearestCall call) {
  extern __shared__ float4 z[];  // [quads][kTokens], zero beyond the dimension
  __shared__ uint64_t partial[kTokens][kThreads / 32];
  const int dim = int(call.dim), quads = (dim + 3) / 4;
  const int64_t first = int64_t(blockIdx.x) * kTokens;
  for (int i = threadIdx.x; i < 4 * quads * kTokens; i += kThreads) {
    const int64_t token = first + i / 4 % kTokens;
    const int k = i / (4 * kTokens) * 4 + i % 4;
    const bool exists = token < call.tokens() && k < dim;
    reinterpret_cast<float*>(z)[i] = exists ? element(call.z, call.z_type, call.place(token, k)) : 0.0f;
  }
  __syncthreads();

  float least[kTokens];
  uint32_t nearest[kTokens];
#pragma unroll
  for (int t = 0; t < kTokens; ++t) least[t] = kFar, nearest[t] = 0;
  for (int64_t code = threadIdx.x; code < call.codes; code += kThreads) {
    float distance[kTokens] = {};
    for (int q = 0; q < quads; ++q) {
      const Quad e = load<kVector>(call.codebook, call.code_type, code * dim + 4 * q, dim - 4 * q);
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        const float4 of = z[q * kTokens + t];
        float d = add_square(distance[t], of.x, e.v[0]);
        d = add_square(d, of.y, e.v[1]);
        d = add_square(d, of.z, e.v[2]);
        distance[t] = add_square(d, of.w, e.v[3]);
      }
    }
#pragma unroll
    for (int t = 0; t < kTokens; ++t)
      if (distance[t] < least[t]) least[t] = distance[t], nearest[t] = uint32_t(code);
  }

#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    const uint64_t found = least_of_warp(nearness(least[t], nearest[t]));
    if (threadIdx.x % 32 == 0) partial[t][threadIdx.x / 32] = found;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kTokens * dim; i += kThreads) {
    const int t = i % kTokens, k = i / kTokens;
    const int64_t token = first + t;
    if (token >= call.tokens()) continue;
    uint64_t found = partial[t][0];
#pragma unroll
    for (int warp = 1; warp < kThreads / 32; ++warp) found = partial[t][warp] < found ? partial[t][warp] : found;
    const int64_t code = code_of(found), at = call.place(token, k);
    if (k == 0) call.index[token] = code;
    if (is_near(found)) {
      copy_element(call.code_type, call.codebook, code * dim + k, call.code, at);
    } else {
      store_nan(call.code_type, call.code, at);
    }
  }
}

void vq_nearest(const Tensor& z, const Tensor& codebook, const Tensor& index, const Tensor& code) {
  const NearestCall call = unpack_nearest(z, codebook, index, code);
  if (z.numel() == 0) return;
  STD_TORCH_CHECK(call.dim <= kMaxDim, "vq_nearest: codebook must have at most ", kMaxDim, " dimensions on CUDA, found ",
                  call.dim, ".");
  const int64_t blocks = (call.tokens() + kTokens - 1) / kTokens;
  STD_TORCH_CHECK(blocks <= 2147483647, "vq_nearest: z has too many tokens for one launch, found ", call.tokens(), ".");
  const torch::stable::accelerator::DeviceGuard guard(z.get_device_index());
  const size_t room = size_t((call.dim + 3) / 4) * kTokens * sizeof(float4);
  const cudaStream_t stream = current_stream(z);
  if (call.dim % 4 == 0 && aligned(call.codebook, quad_bytes(call.code_type))) {
    nearest_kernel<true><<<uint32_t(blocks), kThreads, room, stream>>>(call);
  } else {
    nearest_kernel<false><<<uint32_t(blocks), kThreads, room, stream>>>(call);
  }
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CUDA, library) { library.impl("vq_nearest", TORCH_BOX(&sf::vq_nearest)); }
