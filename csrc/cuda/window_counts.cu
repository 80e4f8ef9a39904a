// window_counts and unwindow_counts on CUDA. Equal pixels: one thread per eight consecutive elements of a slice.
// Otherwise one block per tile of outputs, whose weights are worked out once and shared.
#include <cuda_runtime.h>

#include <algorithm>

#include "cuda/tile.cuh"
#include "window_counts.h"

namespace sf {
namespace {

constexpr int kThreads = 128;
constexpr int kWidth = 8;  // elements of a thread
constexpr int64_t kMaxSlices = 65535;  // of a grid's second dimension
constexpr int kTile = 32;  // outputs along each side of a block's tile
constexpr int kTileRows = kThreads / kTile;  // rows of a tile that are worked on at once

// What a thread could not store as asked, counted in one word: ten bits each of too low, too high and NaN. A thread meets
// at most eight pixels of a slice, a warp 256.
struct Tally {
  static constexpr int kBits = 10;
  uint32_t counts = 0;

  // Returns what is stored.
  __device__ __forceinline__ uint32_t add(int32_t rounded, int32_t largest) {
    counts += rounded == kNan ? 1u << 2 * kBits : rounded < 0 ? 1u : rounded > largest ? 1u << kBits : 0u;
    return uint32_t(held(rounded, largest));
  }
};
static_assert(kWidth <= 8 && kTile / kTileRows <= 8, "a warp's counts fit ten bits");

// Whole numbers: the order in which warps arrive does not show.
__device__ __forceinline__ void deliver(const Tally& tally, int64_t* saturated, int64_t slice) {
  const uint32_t sums = __reduce_add_sync(0xffffffffu, tally.counts), lane = threadIdx.x % 32;
  if (lane >= 3 || !sums) return;
  const uint32_t sum = sums >> lane * Tally::kBits & ((1u << Tally::kBits) - 1);
  if (sum) atomicAdd(reinterpret_cast<unsigned long long*>(saturated + 3 * slice + lane), (unsigned long long)(sum));
}

__device__ __forceinline__ int32_t largest_of(CountType type) { return type == CountType::uint16 ? 65535 : 32767; }

__device__ __forceinline__ float count_of(uint32_t bits, CountType type) {
  return type == CountType::uint16 ? float(uint16_t(bits)) : float(int16_t(uint16_t(bits)));
}

__device__ __forceinline__ float read_count(const WindowCall& call, int64_t at) {
  if (call.counts == CountType::float32) return __ldg(static_cast<const float*>(call.in) + at);
  return count_of(__ldg(static_cast<const uint16_t*>(call.in) + at), call.counts);
}

__device__ __forceinline__ float read_net(const WindowCall& call, int64_t at) {
  if (call.net == NetType::float32) return __ldg(static_cast<const float*>(call.in) + at);
  return decode(__ldg(static_cast<const uint16_t*>(call.in) + at), call.net);
}

// kVector promises that in + at is aligned to all elements of a thread and that all exist; otherwise `count` of them do.
template <bool kVector>
__device__ __forceinline__ void load_counts(const WindowCall& call, int64_t at, int count, float (&v)[kWidth]) {
  if (kVector && call.counts != CountType::float32) {
    const uint4 w = *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(call.in) + at);
    const uint32_t words[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int k = 0; k < kWidth; ++k) v[k] = count_of(words[k / 2] >> (k % 2 * 16), call.counts);
  } else if (kVector) {
#pragma unroll
    for (int k = 0; k < kWidth; k += 4) {
      const Quad q = load<true>(static_cast<const float*>(call.in), at + k, 4);
#pragma unroll
      for (int i = 0; i < 4; ++i) v[k + i] = q.v[i];
    }
  } else {
#pragma unroll
    for (int k = 0; k < kWidth; ++k) v[k] = k < count ? read_count(call, at + k) : 0.0f;
  }
}

template <bool kVector>
__global__ void __launch_bounds__(kThreads) window_kernel(const __grid_constant__ WindowCall call) {
  const int64_t elements = call.out_elements(), first = kWidth * (int64_t(blockIdx.x) * kThreads + threadIdx.x);
  if (first >= elements) return;
  const int count = int(min(elements - first, int64_t(kWidth)));
  for (int64_t slice = blockIdx.y; slice < call.slices(); slice += gridDim.y) {
    float v[kWidth];
    load_counts<kVector>(call, call.in_at(slice) + first, count, v);
    const int64_t at = call.out_at(slice) + first;
#pragma unroll
    for (int k = 0; k < kWidth; k += 4) {
      Quad q;
#pragma unroll
      for (int i = 0; i < 4; ++i) q.v[i] = window(v[k + i], call.gain);
      if (k < count) store<kVector>(call.out, call.net, at + k, min(count - k, 4), q);
    }
  }
}

template <bool kVector>
__global__ void __launch_bounds__(kThreads) unwindow_kernel(const __grid_constant__ WindowCall call) {
  const int64_t elements = call.out_elements(), first = kWidth * (int64_t(blockIdx.x) * kThreads + threadIdx.x);
  const int count = int(max(int64_t(0), min(elements - first, int64_t(kWidth))));
  const int32_t largest = largest_of(call.counts);
  for (int64_t slice = blockIdx.y; slice < call.slices(); slice += gridDim.y) {
    const int64_t from = call.in_at(slice) + first, at = call.out_at(slice) + first;
    Tally tally;
    uint32_t words[kWidth / 2] = {};
#pragma unroll
    for (int k = 0; k < kWidth; k += 4) {
      if (k >= count) break;
      const Quad q = load<kVector>(call.in, call.net, from + k, min(count - k, 4));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (k + i >= count) break;
        const uint32_t stored = tally.add(rounded_counts(q.v[i], call.gain, largest), largest);
        words[(k + i) / 2] |= stored << ((k + i) % 2 * 16);
      }
    }
    uint16_t* out = static_cast<uint16_t*>(call.out) + at;
    if (kVector && count) {
      asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};"
                   :: "l"(out), "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3]) : "memory");
    } else {
#pragma unroll
      for (int k = 0; k < kWidth; ++k)
        if (k < count) out[k] = uint16_t(words[k / 2] >> (k % 2 * 16));
    }
    deliver(tally, call.saturated, slice);
  }
}

// The weights of a tile's rows and columns.
struct TileWeights {
  int64_t first[2][kTile];
  int count[2][kTile];
  float weight[2][kTile][kMaxTaps + 1];  // one more, so that columns lie in different banks

  __device__ void fill(const Axis& axis, int which, int64_t start) {
    const int64_t i = start + threadIdx.x % kTile;
    if (i >= axis.m) return;
    const Span span = weights_of(axis, i, weight[which][threadIdx.x % kTile]);
    first[which][threadIdx.x % kTile] = span.first;
    count[which][threadIdx.x % kTile] = span.count;
  }
};

template <bool kBack>
__global__ void __launch_bounds__(kThreads, 10) resample_kernel(const __grid_constant__ WindowCall call) {
  __shared__ TileWeights tile;
  const int64_t across = (call.columns.m + kTile - 1) / kTile;
  const int64_t row0 = blockIdx.x / across * kTile, column0 = blockIdx.x % across * kTile;
  if (threadIdx.x < kTile) tile.fill(call.rows, 0, row0);
  if (threadIdx.x / kTile == 1) tile.fill(call.columns, 1, column0);
  __syncthreads();

  const int c = threadIdx.x % kTile;
  const bool inside = column0 + c < call.columns.m;
  for (int64_t slice = blockIdx.y; slice < call.slices(); slice += gridDim.y) {
    Tally tally;
    for (int r = threadIdx.x / kTile; inside && r < kTile && row0 + r < call.rows.m; r += kTileRows) {
      float sum = 0.0f;
      for (int l = 0; l < tile.count[1][c]; ++l) {
        int64_t at = call.in_at(slice) + tile.first[0][r] * call.columns.n + tile.first[1][c] + l;
        float mixed = 0.0f;
        for (int k = 0; k < tile.count[0][r]; ++k, at += call.columns.n)
          mixed = fma(tile.weight[0][r][k], kBack ? read_net(call, at) : read_count(call, at), mixed);
        sum = fma(tile.weight[1][c][l], mixed, sum);
      }
      const int64_t to = call.out_at(slice) + (row0 + r) * call.columns.m + column0 + c;
      if (kBack) {
        const int32_t largest = largest_of(call.counts);
        static_cast<uint16_t*>(call.out)[to] = uint16_t(tally.add(rounded_counts(sum, call.gain, largest), largest));
      } else if (call.net == NetType::float32) {
        static_cast<float*>(call.out)[to] = window(sum, call.gain);
      } else {
        static_cast<uint16_t*>(call.out)[to] = encode(window(sum, call.gain), call.net);
      }
    }
    if (kBack) deliver(tally, call.saturated, slice);
  }
}

constexpr int bytes_of(CountType type) { return type == CountType::float32 ? 4 : 2; }
constexpr int bytes_of(NetType type) { return type == NetType::float32 ? 4 : 2; }

// Whether the elements of every thread exist and lie on a boundary of 16 bytes, or of all of them if that is less.
bool all_aligned(const WindowCall& call) {
  const int in = call.saturated ? bytes_of(call.net) : bytes_of(call.counts);
  const int out = call.saturated ? bytes_of(call.counts) : bytes_of(call.net);
  return call.out_elements() % kWidth == 0 && call.out_stride % kWidth == 0 &&
         aligned(call.in, std::min(16, in * kWidth)) && aligned(call.out, std::min(16, out * kWidth));
}

template <bool kBack>
void run(const WindowCall& call, const Tensor& in) {
  const torch::stable::accelerator::DeviceGuard guard(in.get_device_index());
  const cudaStream_t stream = current_stream(in);
  if (kBack) STD_CUDA_CHECK(cudaMemsetAsync(call.saturated, 0, 3 * sizeof(int64_t) * call.slices(), stream));
  if (call.slices() == 0 || call.in_elements() == 0 || call.out_elements() == 0) return;
  const uint32_t slices = uint32_t(std::min(call.slices(), kMaxSlices));
  const auto blocks = [](int64_t n, int64_t each) { return (n + each - 1) / each; };
  if (!call.keeps()) {
    const dim3 grid(uint32_t(blocks(call.rows.m, kTile) * blocks(call.columns.m, kTile)), slices);
    resample_kernel<kBack><<<grid, kThreads, 0, stream>>>(call);
  } else {
    const dim3 grid(uint32_t(blocks(call.out_elements(), kWidth * kThreads)), slices);
    const auto kernel = kBack ? (all_aligned(call) ? unwindow_kernel<true> : unwindow_kernel<false>)
                              : (all_aligned(call) ? window_kernel<true> : window_kernel<false>);
    kernel<<<grid, kThreads, 0, stream>>>(call);
  }
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

void window_counts(const Tensor& counts, double gain, int64_t row_step, int64_t row_origin, int64_t row_reach,
                   int64_t column_step, int64_t column_origin, int64_t column_reach, const Tensor& out) {
  run<false>(unpack_window_counts(counts, gain, row_step, row_origin, row_reach, column_step, column_origin,
                                  column_reach, out),
             counts);
}

void unwindow_counts(const Tensor& x, double gain, int64_t row_step, int64_t row_origin, int64_t row_reach,
                     int64_t column_step, int64_t column_origin, int64_t column_reach, const Tensor& counts,
                     const Tensor& saturated) {
  run<true>(unpack_unwindow_counts(x, gain, row_step, row_origin, row_reach, column_step, column_origin, column_reach,
                                   counts, saturated),
            x);
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CUDA, library) {
  library.impl("window_counts", TORCH_BOX(&sf::window_counts));
  library.impl("unwindow_counts", TORCH_BOX(&sf::unwindow_counts));
}
