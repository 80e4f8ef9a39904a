// group_norm_silu on CUDA. A block holds a tile of one group in registers, so a group of one tile is read once and
// written once by one launch. Of a larger group every tile leaves its moments, and a second launch joins and applies them.
#include <cuda_runtime.h>

#include "cuda/tile.cuh"
#include "group_norm_silu.h"
#include "math/divide.h"

namespace sf {
namespace {

constexpr int kThreads = 512;
constexpr int kBlocks = 2;               // on a multiprocessor: while one sums, the other loads
constexpr int kMany = 8, kFew = 2;       // loads of a thread that are on their way together
constexpr int64_t kMaxWidth = 4096;      // channels of a group: their lines lie in shared memory
constexpr int64_t kMaxGroup = 2147483647;  // elements: a place within a group is 32 bits

// Moments of a tile: the mean in two floats, because beside a small spread the rounding of one shows.
struct TileMoments {
  float centre, rest, m2;
};

template <int kCount>
__device__ __forceinline__ float2 lane_sum(float2 v) {
#pragma unroll
  for (int lane = kCount / 2; lane >= 1; lane /= 2) {
    v.x += __shfl_xor_sync(0xffffffffu, v.x, lane);
    v.y += __shfl_xor_sync(0xffffffffu, v.y, lane);
  }
  return v;
}

// Sum over the block of two values, the same for every thread.
__device__ __forceinline__ float2 block_sum(float2 v) {
  constexpr int kWarps = kThreads / 32;
  __shared__ float2 partial[kWarps];
  v = lane_sum<32>(v);
  __syncthreads();  // the last sum may still be being read
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = v;
  __syncthreads();
  return lane_sum<kWarps>(partial[threadIdx.x % kWarps]);
}

template <Activation kActivation, uint32_t kWidth>
__device__ __forceinline__ Quad normalised_quad(const Quad& x, const Line (&line)[kWidth]) {
  Quad y;
#pragma unroll
  for (uint32_t k = 0; k < kWidth; ++k) y.v[k] = normalised<kActivation>(x.v[k], line[k]);
  return y;
}

__device__ __forceinline__ Line line_at(const float2* slope_and_level, float centre) {
  return {centre, slope_and_level->x, slope_and_level->y};
}

// Where a block's tile lies. kVector: a thread's four elements are neighbours in memory and all exist.
template <bool kLast, bool kVector, int kSteps>
struct Tile {
  static constexpr uint32_t kWidth = kVector ? 4 : 1;
  static constexpr uint32_t kElements = kThreads * kSteps * kWidth;

  const NormCall& call;
  const Divider& by;  // channels of the group where they are last, its positions otherwise
  uint32_t width, spatial, size;  // channels, positions and elements of the group
  uint32_t item, sample, group;   // number of the group among all, and where that is
  uint32_t first;                 // element of the tile

  __device__ Tile(const NormCall& c, const Divider& divider, uint32_t tiles)
      : call(c), by(divider), width(uint32_t(c.width())), spatial(uint32_t(c.spatial)), size(width * spatial),
        item(blockIdx.x / tiles), sample(item / uint32_t(c.groups)), group(item % uint32_t(c.groups)),
        first(blockIdx.x % tiles * kElements) {}

  __device__ __forceinline__ uint32_t element(int step) const { return first + (step * kThreads + threadIdx.x) * kWidth; }
  __device__ __forceinline__ uint32_t channel(uint32_t e) const { return kLast ? by.rest(e) : by.quotient(e); }
  __device__ __forceinline__ int64_t place(int step) const {
    // One address and constant distances from it, instead of an address for every step.
    if (!kLast) return int64_t(item) * size + element(0) + int64_t(step) * kThreads * kWidth;
    const uint32_t e = element(step), position = by.quotient(e);
    return (int64_t(sample) * spatial + position) * call.channels + group * width + (e - position * width);
  }
  __device__ __forceinline__ uint32_t count() const { return min(size - first, kElements); }

  template <class Type>
  __device__ __forceinline__ void load_as(Type type, Quad (&x)[kSteps]) const {
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      x[i] = element(i) < size ? load<kVector>(call.x, type, place(i), 1) : Quad{};
    }
  }

  // The type is settled outside the loop, so that all loads leave before the first value is waited for.
  __device__ __forceinline__ void load_all(Quad (&x)[kSteps]) const {
    call.type == NetType::float32 ? load_as(NetType::float32, x) : load_as(call.type, x);
  }

  // Leaves in x the deviations from the centre found: kept beside x they would not fit the registers.
  __device__ __forceinline__ TileMoments centred_moments(Quad (&x)[kSteps]) const {
    const float n = float(count());
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kSteps; ++i)
#pragma unroll
      for (uint32_t k = 0; k < kWidth; ++k) sum += x[i].v[k];
    const float centre = block_sum({sum, 0.0f}).x / n;
    float2 about = {0.0f, 0.0f};
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const bool inside = element(i) < size;
#pragma unroll
      for (uint32_t k = 0; k < kWidth; ++k) {
        x[i].v[k] = inside ? x[i].v[k] - centre : 0.0f;
        about.x += x[i].v[k];
        about.y = fma(x[i].v[k], x[i].v[k], about.y);
      }
    }
    about = block_sum(about);
    const float rest = about.x / n;
    return {centre, rest, fma(-about.x, rest, about.y)};
  }

  __device__ __forceinline__ void apply(const Quad (&x)[kSteps], float centre, const float2* lines) const {
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const uint32_t e = element(i);
      if (e >= size) continue;
      const uint32_t c = channel(e);
      Line line[kWidth];
#pragma unroll
      for (uint32_t k = 0; k < kWidth; ++k) line[k] = line_at(lines + c + (kLast ? k : 0), centre);
      // One branch for all threads, at every step: around the steps it would keep the lines of all of them in registers.
      Quad y;
      switch (call.activation) {
        case Activation::none: y = normalised_quad<Activation::none>(x[i], line); break;
        case Activation::relu: y = normalised_quad<Activation::relu>(x[i], line); break;
        case Activation::leaky_relu: y = normalised_quad<Activation::leaky_relu>(x[i], line); break;
        case Activation::silu: y = normalised_quad<Activation::silu>(x[i], line); break;
      }
      store<kVector>(call.out, call.type, place(i), 1, y);
    }
  }

  // `centre` is what is still to be subtracted from x.
  __device__ __forceinline__ void finish(const Quad (&x)[kSteps], float centre, const TileMoments& all) const {
    extern __shared__ float2 lines[];  // slope and level of every channel of the group
    const float rstd = 1.0f / sqrtf(all.m2 / float(size) + call.eps);
    for (uint32_t c = threadIdx.x; c < width; c += kThreads) {
      const Line line = line_of(call, sample, group * width + c, all.centre, all.rest, rstd);
      lines[c] = {line.slope, line.level};
    }
    __syncthreads();
    apply(x, centre, lines);
  }

  // Joins the tiles of this group: first their means, then their deviations from the joint one.
  __device__ __forceinline__ TileMoments join(const TileMoments* __restrict__ parts, uint32_t tiles) const {
    parts += int64_t(item) * tiles;
    const float centre = parts[0].centre;
    const auto counted = [&](uint32_t t) { return float(min(size - t * kElements, kElements)); };
    float2 sum = {0.0f, 0.0f};
    for (uint32_t t = threadIdx.x; t < tiles; t += kThreads)
      sum.x = fma(counted(t), (parts[t].centre - centre) + parts[t].rest, sum.x);
    const float rest = block_sum(sum).x / float(size);
    float2 m2 = {0.0f, 0.0f};
    for (uint32_t t = threadIdx.x; t < tiles; t += kThreads) {
      const float apart = (parts[t].centre - centre) + parts[t].rest - rest;
      m2.x += fma(counted(t) * apart, apart, parts[t].m2);
    }
    return {centre, rest, block_sum(m2).x};
  }
};

template <bool kLast, bool kVector, int kSteps>
__global__ void __launch_bounds__(kThreads, kBlocks)
    whole_kernel(const __grid_constant__ NormCall call, const __grid_constant__ Divider by) {
  const Tile<kLast, kVector, kSteps> tile(call, by, 1);
  Quad x[kSteps];
  tile.load_all(x);
  const TileMoments all = tile.centred_moments(x);
  tile.finish(x, 0.0f, all);
}

template <bool kLast, bool kVector, int kSteps>
__global__ void __launch_bounds__(kThreads, kBlocks)
    measure_kernel(const __grid_constant__ NormCall call, const __grid_constant__ Divider by, uint32_t tiles,
                   TileMoments* parts) {
  const Tile<kLast, kVector, kSteps> tile(call, by, tiles);
  Quad x[kSteps];
  tile.load_all(x);
  const TileMoments found = tile.centred_moments(x);
  if (threadIdx.x == 0) parts[blockIdx.x] = found;
}

template <bool kLast, bool kVector, int kSteps>
__global__ void __launch_bounds__(kThreads, kBlocks)
    apply_kernel(const __grid_constant__ NormCall call, const __grid_constant__ Divider by, uint32_t tiles,
                 const TileMoments* parts) {
  const Tile<kLast, kVector, kSteps> tile(call, by, tiles);
  Quad x[kSteps];
  tile.load_all(x);
  const TileMoments all = tile.join(parts, tiles);
  tile.finish(x, all.centre, all);
}

int64_t blocks_at_once() {
  int device = 0, multiprocessors = 0;
  STD_CUDA_CHECK(cudaGetDevice(&device));
  STD_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  return int64_t(kBlocks) * multiprocessors;
}

// Tiles of a group, if a thread takes so many steps.
template <bool kLast, bool kVector, int kSteps>
int64_t tiles_of(const NormCall& call) {
  constexpr int64_t kEach = Tile<kLast, kVector, kSteps>::kElements;
  return (call.width() * call.spatial + kEach - 1) / kEach;
}

template <bool kLast, bool kVector, int kSteps>
void launch_tiles(const NormCall& call, const Divider& by, const Tensor& like) {
  const int64_t items = call.samples * call.groups, tiles = tiles_of<kLast, kVector, kSteps>(call);
  STD_TORCH_CHECK(items * tiles <= kMaxGroup, "group_norm_silu: x is too large for one launch.");
  const uint32_t blocks = uint32_t(items * tiles), lines = uint32_t(call.width() * sizeof(float2));
  const int64_t floats = items * tiles * int64_t(sizeof(TileMoments) / sizeof(float));
  const Tensor scratch = torch::stable::new_empty(like, {floats}, torch::headeronly::ScalarType::Float);
  TileMoments* parts = reinterpret_cast<TileMoments*>(scratch.mutable_data_ptr<float>());
  const cudaStream_t stream = current_stream(like);
  measure_kernel<kLast, kVector, kSteps><<<blocks, kThreads, 0, stream>>>(call, by, uint32_t(tiles), parts);
  apply_kernel<kLast, kVector, kSteps><<<blocks, kThreads, lines, stream>>>(call, by, uint32_t(tiles), parts);
}

template <bool kLast, bool kVector>
void launch(const NormCall& call, const Tensor& like) {
  const int64_t items = call.samples * call.groups, tiles = tiles_of<kLast, kVector, kMany>(call);
  const Divider by = divider_by(uint32_t(kLast ? call.width() : call.spatial));
  if (tiles == 1) {
    STD_TORCH_CHECK(items <= kMaxGroup, "group_norm_silu: x is too large for one launch.");
    const uint32_t lines = uint32_t(call.width() * sizeof(float2));
    const bool few = tiles_of<kLast, kVector, kFew>(call) == 1;
    const auto kernel = few ? whole_kernel<kLast, kVector, kFew> : whole_kernel<kLast, kVector, kMany>;
    kernel<<<uint32_t(items), kThreads, lines, current_stream(like)>>>(call, by);
  } else if (items * tiles < blocks_at_once()) {
    // Two launches either way: smaller tiles then leave no multiprocessor idle.
    launch_tiles<kLast, kVector, kFew>(call, by, like);
  } else {
    launch_tiles<kLast, kVector, kMany>(call, by, like);
  }
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

void group_norm_silu(const Tensor& x, int64_t groups, const MaybeTensor& weight, const MaybeTensor& bias,
                     const MaybeTensor& scale, const MaybeTensor& shift, double eps, const std::string& activation,
                     const Tensor& out) {
  const NormCall call = unpack_norm(x, groups, weight, bias, scale, shift, eps, activation, out);
  if (x.numel() == 0) return;
  STD_TORCH_CHECK(call.width() <= kMaxWidth, "group_norm_silu: a group must have at most ", kMaxWidth,
                  " channels on CUDA, found ", call.width(), ".");
  STD_TORCH_CHECK(call.width() * call.spatial <= kMaxGroup, "group_norm_silu: a group must have at most ", kMaxGroup,
                  " elements, found ", call.width() * call.spatial, ".");
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
  const int bytes = quad_bytes(call.type);
  const bool together = (call.channels_last ? call.width() : call.spatial) % 4 == 0;
  const bool vector = together && aligned(call.x, bytes) && aligned(call.out, bytes);
  if (call.channels_last) return vector ? launch<true, true>(call, x) : launch<true, false>(call, x);
  return vector ? launch<false, true>(call, x) : launch<false, false>(call, x);
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CUDA, library) {
  library.impl("group_norm_silu", TORCH_BOX(&sf::group_norm_silu));
}
