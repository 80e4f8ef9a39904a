// vq_nearest on the CPU. Codes are laid out in blocks with dimension major order, so that a vector holds as many codes
// as it has lanes; every lane keeps the nearest code it has met, and the lanes are compared once at the end.
#include "vq_nearest.h"

#include <algorithm>

#include "cpu/blocks.h"

namespace sf {
namespace {

constexpr int64_t kCodes = 16;  // codes of a block: the lanes of one vector, which then stay in registers
constexpr int64_t kTokens = 4;  // searched for together, so that a code is loaded once for all of them
constexpr int64_t kSlab = 4;    // dimensions added at a time, where their number is not known in advance
constexpr int64_t kGroupGrain = 16;  // groups of tokens a thread must have before another one is woken

// What every lane has met: the least distance, and the block it was in.
struct Lanes {
  alignas(64) float distance[kTokens][kCodes];
  alignas(64) int32_t block[kTokens][kCodes];
};

// Element i of block b is code b kCodes + i % kCodes in dimension i / kCodes; missing codes are infinitely far.
void lay_out(const NearestCall& call, int64_t block, float* out) {
  alignas(64) float row[kBlock];
  const int64_t first = block * kCodes;
  for (int64_t j = 0; j < kCodes; ++j)
    for (int64_t start = 0; start < call.dim; start += kBlock) {
      const int64_t n = std::min(kBlock, call.dim - start);
      const bool exists = first + j < call.codes;
      const float* code =
          exists ? as_float(call.codebook, call.code_type, (first + j) * call.dim + start, n, row) : nullptr;
      for (int64_t k = 0; k < n; ++k) out[(start + k) * kCodes + j] = exists ? code[k] : kFar;
    }
}

SF_HD void keep_nearer(float distance, int32_t block, float& least, int32_t& its_block) {
  its_block = distance < least ? block : its_block;  // never for NaN
  least = distance < least ? distance : least;
}

// z: [dim][kTokens]. The number of dimensions is known, so distances stay in registers.
template <int64_t kDim>
SF_HD void search_known(const float* z, const float* __restrict codes, int64_t blocks, Lanes& lanes) {
  float of[kTokens][kDim];
  for (int64_t i = 0; i < kTokens * kDim; ++i) of[i % kTokens][i / kTokens] = z[i];
  for (int64_t b = 0; b < blocks; ++b) {
    const float* __restrict e = codes + b * kDim * kCodes;
    for (int64_t j = 0; j < kCodes; ++j) {
#pragma GCC unroll 4
      for (int64_t t = 0; t < kTokens; ++t) {
        float d = 0.0f;
#pragma GCC unroll 8
        for (int64_t k = 0; k < kDim; ++k) d = add_square(d, of[t][k], e[k * kCodes + j]);
        keep_nearer(d, int32_t(b), lanes.distance[t][j], lanes.block[t][j]);
      }
    }
  }
}

template <int64_t kCount>
SF_HD void add_slab(const float* z, const float* __restrict e, float (*__restrict d)[kCodes]) {
  float of[kTokens][kCount];
  for (int64_t i = 0; i < kTokens * kCount; ++i) of[i % kTokens][i / kTokens] = z[i];
  for (int64_t j = 0; j < kCodes; ++j) {
#pragma GCC unroll 4
    for (int64_t t = 0; t < kTokens; ++t) {
      float sum = d[t][j];
#pragma GCC unroll 4
      for (int64_t k = 0; k < kCount; ++k) sum = add_square(sum, of[t][k], e[k * kCodes + j]);
      d[t][j] = sum;
    }
  }
}

SF_HD void search_any(const float* z, const float* codes, int64_t blocks, int64_t dim, Lanes& lanes) {
  for (int64_t b = 0; b < blocks; ++b) {
    const float* e = codes + b * dim * kCodes;
    alignas(64) float d[kTokens][kCodes] = {};
    int64_t k = 0;
    for (; k + kSlab <= dim; k += kSlab) add_slab<kSlab>(z + k * kTokens, e + k * kCodes, d);
    for (; k < dim; ++k) add_slab<1>(z + k * kTokens, e + k * kCodes, d);
    for (int64_t t = 0; t < kTokens; ++t)
      for (int64_t j = 0; j < kCodes; ++j)
        keep_nearer(d[t][j], int32_t(b), lanes.distance[t][j], lanes.block[t][j]);
  }
}

SF_WIDE void search(const float* z, const float* codes, int64_t blocks, int64_t dim, Lanes& __restrict lanes) {
  switch (dim) {
    case 3: return search_known<3>(z, codes, blocks, lanes);
    case 4: return search_known<4>(z, codes, blocks, lanes);
    case 8: return search_known<8>(z, codes, blocks, lanes);
    default: return search_any(z, codes, blocks, dim, lanes);
  }
}

float element(const NearestCall& call, int64_t token, int64_t k) {
  float value;
  return *as_float(call.z, call.z_type, call.place(token, k), 1, &value);
}

void deliver_code(const NearestCall& call, int64_t token, uint64_t nearest) {
  const int64_t code = code_of(nearest);
  call.index[token] = code;
  for (int64_t k = 0; k < call.dim; ++k) {
    const int64_t at = call.place(token, k);
    if (is_near(nearest)) {
      copy_element(call.code_type, call.codebook, code * call.dim + k, call.code, at);
    } else {
      store_nan(call.code_type, call.code, at);
    }
  }
}

// z: room for [dim][kTokens].
void search_group(const NearestCall& call, const float* codes, int64_t blocks, int64_t first, float* z) {
  const int64_t count = std::min(kTokens, call.tokens() - first);
  for (int64_t k = 0; k < call.dim; ++k)
    for (int64_t t = 0; t < kTokens; ++t) z[k * kTokens + t] = element(call, first + std::min(t, count - 1), k);
  Lanes lanes;
  std::fill_n(lanes.distance[0], kTokens * kCodes, kFar);
  std::fill_n(lanes.block[0], kTokens * kCodes, 0);
  search(z, codes, blocks, call.dim, lanes);
  for (int64_t t = 0; t < count; ++t) {
    uint64_t nearest = nearness(kFar, 0);
    for (int64_t j = 0; j < kCodes; ++j)
      nearest = std::min(nearest, nearness(lanes.distance[t][j], uint32_t(lanes.block[t][j] * kCodes + j)));
    deliver_code(call, first + t, nearest);
  }
}

void vq_nearest(const Tensor& z, const Tensor& codebook, const Tensor& index, const Tensor& code) {
  const NearestCall call = unpack_nearest(z, codebook, index, code);
  const int64_t blocks = (call.codes + kCodes - 1) / kCodes, groups = (call.tokens() + kTokens - 1) / kTokens;
  const int64_t codes_size = blocks * call.dim * kCodes, group_size = call.dim * kTokens;
  const Tensor scratch = torch::stable::new_empty(codebook, {codes_size + groups * group_size},
                                                  torch::headeronly::ScalarType::Float);
  float *const codes = scratch.mutable_data_ptr<float>(), *const tokens = codes + codes_size;
  torch::stable::parallel_for(0, blocks, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) lay_out(call, b, codes + b * call.dim * kCodes);
  });
  torch::stable::parallel_for(0, groups, kGroupGrain, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) search_group(call, codes, blocks, g * kTokens, tokens + g * group_size);
  });
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CPU, library) { library.impl("vq_nearest", TORCH_BOX(&sf::vq_nearest)); }
