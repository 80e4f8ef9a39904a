// Rows times matrices that stay: what a convolution by Winograd's filtering has between its transforms. Where rows are
// few, a matrix is used up as fast as memory brings it. So the next piece of it is asked for while the last is multiplied,
// and all matrices of a convolution are shared among the threads at once.
#include <algorithm>
#include <type_traits>

#include "cpu/lanes.h"
#include "glue.h"

namespace sf {
namespace {

typedef float HalfLanes __attribute__((vector_size(2 * kLanes), aligned(2 * kLanes)));
typedef float LooseHalfLanes __attribute__((vector_size(2 * kLanes), aligned(4), may_alias));

// What the registers of a vector width hold: sums of so many rows, beside a strip's column and a row's value.
struct Of256 {
  using Vector = HalfLanes;
  using Loose = LooseHalfLanes;
  static constexpr int64_t kRows = 6;
};

struct Of512 {
  using Vector = Lanes;
  using Loose = LooseLanes;
  static constexpr int64_t kRows = 12;
};

// Rows that stay in a core's own cache while the strips pass by; of both kinds of blocks a multiple.
constexpr int64_t kChunk = 240;
// Rows of the smaller blocks that take what is left of the larger ones.
constexpr int64_t kRest = 4;

// Some strips of one product: rows [count, inner], matrix [strips, inner, kLanes], the strips' part of the result
// [count, columns] and of what is added to it, which may be missing.
struct Piece {
  const float *rows, *matrix, *bias;
  float* out;
  int64_t count, inner, columns;
};

// So many lines of kLanes floats are brought into the cache meanwhile.
struct Ahead {
  const float* at;
  int64_t lines;
};

template <class Of, int64_t kStrips, int64_t kRows>
SF_HD void block(const Piece& p, int64_t first, Ahead ahead) {
  using Vector = typename Of::Vector;
  using Loose = typename Of::Loose;
  constexpr int64_t kFloats = sizeof(Vector) / sizeof(float), kParts = kLanes / kFloats, kColumns = kStrips * kParts;
  Vector sum[kRows][kColumns];
#pragma GCC unroll 12
  for (int64_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int64_t j = 0; j < kColumns; ++j)
      sum[r][j] = p.bias ? *reinterpret_cast<const Loose*>(p.bias + j * kFloats) : Vector{};
  const float* row = p.rows + first * p.inner;
  const auto step = [&](int64_t k) SF_INLINE {
    Vector column[kColumns];
#pragma GCC unroll 4
    for (int64_t j = 0; j < kColumns; ++j)
      column[j] = *reinterpret_cast<const Loose*>(p.matrix + (j / kParts * p.inner + k) * kLanes + j % kParts * kFloats);
#pragma GCC unroll 12
    for (int64_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int64_t j = 0; j < kColumns; ++j) sum[r][j] += row[r * p.inner + k] * column[j];
  };
  int64_t k = 0;
  if (ahead.lines) {
    const int64_t every = p.inner / ahead.lines;
    for (int64_t line = 0; line < ahead.lines; ++line) {
      __builtin_prefetch(ahead.at + line * kLanes, 0, 2);
      for (const int64_t end = k + every; k < end; ++k) step(k);
    }
  }
  for (; k < p.inner; ++k) step(k);
#pragma GCC unroll 12
  for (int64_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int64_t j = 0; j < kColumns; ++j)
      *reinterpret_cast<Loose*>(p.out + (first + r) * p.columns + j * kFloats) = sum[r][j];
}

// All rows, in blocks; each brings its share of the strips that come next. A sum is made in the same order in any block.
template <class Of, int64_t kStrips>
SF_HD void multiply(const Piece& p, const float* next) {
  const int64_t rest = p.count % Of::kRows, blocks = p.count / Of::kRows + rest / kRest + rest % kRest;
  Ahead ahead{next, next ? std::min(kStrips * p.inner / blocks, p.inner) : 0};
  int64_t first = 0;
  const auto in_blocks_of = [&](auto rows) SF_INLINE {
    for (; p.count - first >= rows; first += rows) {
      block<Of, kStrips, rows>(p, first, ahead);
      ahead.at += ahead.lines * kLanes;
    }
  };
  in_blocks_of(std::integral_constant<int64_t, Of::kRows>());
  in_blocks_of(std::integral_constant<int64_t, kRest>());
  in_blocks_of(std::integral_constant<int64_t, 1>());
}

SF_WIDE void one_of_256(const Piece& p, const float* next) { multiply<Of256, 1>(p, next); }
SF_WIDE void one_of_512(const Piece& p, const float* next) { multiply<Of512, 1>(p, next); }
SF_WIDE void two_of_512(const Piece& p, const float* next) { multiply<Of512, 2>(p, next); }

// Whether the functions above have the width of Of512: where SF_WIDE makes them for the processor that runs them.
bool has_512() {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(SPECTAC_FAST_AVX2)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

// rows [n, M, K] and out [n, M, N], each of the n contiguous; matrices [n, N / kLanes, K, kLanes]; bias [N], for all.
void strip_products(const Tensor& rows, const Tensor& matrices, const MaybeTensor& bias, const Tensor& out) {
  const char* op = "strip_products";
  STD_TORCH_CHECK(rows.dim() == 3 && matrices.dim() == 4 && out.dim() == 3 && matrices.size(3) == kLanes, op,
                  ": expected rows [n, M, K], matrices [n, N / ", kLanes, ", K, ", kLanes, "] and out [n, M, N].");
  const int64_t n = rows.size(0), count = rows.size(1), inner = rows.size(2), strips = matrices.size(1);
  const int64_t columns = strips * kLanes;
  STD_TORCH_CHECK(has_shape(matrices, {n, strips, inner, kLanes}) && has_shape(out, {n, count, columns}), op,
                  ": matrices and out must fit the rows.");
  check_apart(op, {place_of_slices(rows, op, "rows"), place_of(matrices), place_of(bias)},
              {place_to_write(out, op, "out")});
  const float* matrix = read_from<float>(matrices, n * columns * inner, op, "matrices");
  const float* more = bias ? read_from<float>(*bias, columns, op, "bias") : nullptr;
  const float* from = rows.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  const int64_t from_step = rows.stride(0), to_step = out.stride(0);

  const bool two = has_512() && strips % 2 == 0;
  const auto run = two ? two_of_512 : has_512() ? one_of_512 : one_of_256;
  const int64_t width = two ? 2 : 1, pieces = strips / width, chunks = (count + kChunk - 1) / kChunk;
  const auto strip_of = [&](int64_t i) { return (i / pieces / chunks * strips + i % pieces * width); };
  torch::stable::parallel_for(0, n * chunks * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t of = i / pieces / chunks, first = i / pieces % chunks * kChunk, column = i % pieces * width * kLanes;
      const Piece piece{from + of * from_step + first * inner,
                        matrix + strip_of(i) * inner * kLanes,
                        more ? more + column : nullptr,
                        to + of * to_step + first * columns + column,
                        std::min(kChunk, count - first),
                        inner,
                        columns};
      run(piece, i + 1 < end ? matrix + strip_of(i + 1) * inner * kLanes : nullptr);
    }
  });
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CPU, library) {
  library.impl("strip_products", TORCH_BOX(&sf::strip_products));
}
