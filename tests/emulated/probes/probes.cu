// Kernels with a fault each, and two without: what the machine has to find, and what it must not.
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "math/half.h"

namespace {

float* out;  // what a probe leaves

__global__ void sum_of_block() {
  __shared__ float values[64];
  values[threadIdx.x] = float(threadIdx.x);
  __syncthreads();
  float sum = 0.0f;
  for (int i = 0; i < 64; ++i) sum += values[i];
  out[threadIdx.x] = sum;
}

__global__ void sum_of_warp() {
  float sum = float(threadIdx.x);
  for (int step = 16; step; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  out[threadIdx.x] = sum;
}

__global__ void no_barrier() {
  __shared__ float values[64];
  values[threadIdx.x] = 1.0f;
  out[threadIdx.x] = values[63 - threadIdx.x];
}

__global__ void two_barriers() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void left_early() {
  if (threadIdx.x == 5) return;
  __syncthreads();
}

__global__ void one_lane_elsewhere() {
  if (threadIdx.x % 32 == 3) {
    out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
  } else {
    out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 2.0f, 1);
  }
}

__global__ void lane_missing() {
  if (threadIdx.x % 32 == 3) return;
  out[threadIdx.x] = __shfl_down_sync(0xffffffffu, 1.0f, 1);
}

__global__ void not_in_own_mask() { out[threadIdx.x] = __shfl_down_sync(0x0000ffffu, 1.0f, 1); }

// Half a warp waits for lanes that wait for the block.
__global__ void waits_for_ever() {
  if (threadIdx.x % 32 < 16) out[threadIdx.x] = __shfl_down_sync(0xffffffffu, 1.0f, 1);
  __syncthreads();
}

__global__ void misaligned_vector() {
  const float4 v = *reinterpret_cast<const float4*>(out + 2);
  out[0] = v.x;
}

__global__ void too_much_shared() {
  __shared__ float first[8192], second[8192];
  first[threadIdx.x] = second[threadIdx.x] = 0.0f;
}

__global__ void same_place() { out[0] = float(blockIdx.x); }

__global__ void beyond_shared() {
  __shared__ float values[64];
  values[threadIdx.x + 1] = 1.0f;
  out[threadIdx.x] = values[threadIdx.x];
}

struct Probe {
  const char* name;
  void (*kernel)();
  dim3 grid = 1, block = 64;
  size_t shared = 0;
};

const Probe probes[] = {
    {"sum_of_block", sum_of_block},
    {"sum_of_warp", sum_of_warp},
    {"no_barrier", no_barrier},
    {"two_barriers", two_barriers},
    {"left_early", left_early},
    {"one_lane_elsewhere", one_lane_elsewhere},
    {"lane_missing", lane_missing},
    {"not_in_own_mask", not_in_own_mask},
    {"waits_for_ever", waits_for_ever},
    {"misaligned_vector", misaligned_vector},
    {"too_much_shared", too_much_shared},
    {"same_place", same_place, 8},
    {"beyond_shared", beyond_shared},
    {"too_many_threads", sum_of_block, 1, 1025},
    {"too_many_blocks", sum_of_block, dim3(1, 65536)},
    {"too_much_dynamic", sum_of_block, 1, 64, 50000},
};

void run(const std::string& name) {
  for (const Probe& probe : probes) {
    if (name != probe.name) continue;
    const auto kernel = probe.kernel;
    kernel<<<probe.grid, probe.block, probe.shared, nullptr>>>();
    if (const int error = cudaGetLastError()) throw std::runtime_error("CUDA error " + std::to_string(error));
    return;
  }
  throw std::invalid_argument("there is no probe " + name);
}

}  // namespace

// What was wrong, or nothing; `result` has room for 4096 floats.
extern "C" const char* emulated_probe(const char* name, float* result) {
  static std::string said;
  said.clear();
  out = result;
  try {
    run(name);
  } catch (const std::exception& error) {
    said = error.what();
  }
  return said.c_str();
}

// The device's half of math/half.h, number by number.
extern "C" void emulated_encode(const float* values, int64_t count, uint16_t* bfloat16, uint16_t* float16) {
  for (int64_t i = 0; i < count; ++i) {
    bfloat16[i] = sf::to_bfloat16(values[i]);
    float16[i] = sf::to_float16(values[i]);
    const float other = values[count - 1 - i];
    const uint32_t brains = sf::to_pair(values[i], other, sf::NetType::bfloat16);
    const uint32_t halves = sf::to_pair(values[i], other, sf::NetType::float16);
    if (uint16_t(brains) != bfloat16[i] || brains >> 16 != sf::to_bfloat16(other)) bfloat16[i] = 0xffff;
    if (uint16_t(halves) != float16[i] || halves >> 16 != sf::to_float16(other)) float16[i] = 0xffff;
  }
}

extern "C" void emulated_decode(const uint16_t* float16, int64_t count, float* values) {
  for (int64_t i = 0; i < count; ++i) values[i] = sf::from_float16(float16[i]);
}
