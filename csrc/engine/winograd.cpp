// The two transforms of a 3x3 convolution by Winograd's minimal filtering (Lavin and Gray, CVPR 2016), between which lie
// the products with the transformed weights. A tile's channels lie side by side, so that a vector holds some of them; both
// directions of a tile are transformed while it is in registers and the first-level cache.
#include <algorithm>
#include <vector>

#include "cpu/lanes.h"
#include "glue.h"

namespace sf {
namespace {

constexpr int64_t kTileFloats = 1 << 15;  // of transformed tiles a thread must have before another one is woken

// 2 outputs of 4 inputs, at the points 0, 1, -1 and infinity (Lavin and Gray, section 4.1, but for signs).
struct Two {
  static constexpr int64_t kOut = 2, kIn = 4;

  template <class In, class Out>
  SF_HD static void into(const In& d, const Out& v) {
    const Lanes d0 = d(0), d1 = d(1), d2 = d(2), d3 = d(3);
    v(0, d2 - d0);
    v(1, d2 + d1);
    v(2, d2 - d1);
    v(3, d3 - d1);
  }

  template <class In, class Out>
  SF_HD static void back(const In& m, const Out& y) {
    const Lanes m0 = m(0), m1 = m(1), m2 = m(2), m3 = m(3);
    y(0, m1 + m2 + m0);
    y(1, m1 - m2 + m3);
  }
};

// 4 outputs of 6 inputs, at the points 0, +-a, +-b and infinity. With 3/4 and 3/2 they err by half of what the usual
// 1 and 2 do, and little more than a direct convolution in float32.
struct Four {
  static constexpr int64_t kOut = 4, kIn = 6;
  static constexpr float a = 0.75f, b = 1.5f, aa = a * a, bb = b * b;

  template <class In, class Out>
  SF_HD static void into(const In& d, const Out& v) {
    const Lanes d0 = d(0), d1 = d(1), d2 = d(2), d3 = d(3), d4 = d(4), d5 = d(5);
    const Lanes even_a = d4 - bb * d2, odd_a = a * d3 - a * bb * d1;
    const Lanes even_b = d4 - aa * d2, odd_b = b * d3 - b * aa * d1;
    v(0, d4 - (aa + bb) * d2 + aa * bb * d0);
    v(1, even_a + odd_a);
    v(2, even_a - odd_a);
    v(3, even_b + odd_b);
    v(4, even_b - odd_b);
    v(5, d5 - (aa + bb) * d3 + aa * bb * d1);
  }

  template <class In, class Out>
  SF_HD static void back(const In& m, const Out& y) {
    const Lanes m0 = m(0), m1 = m(1), m2 = m(2), m3 = m(3), m4 = m(4), m5 = m(5);
    const Lanes sum_a = m1 + m2, apart_a = m1 - m2, sum_b = m3 + m4, apart_b = m3 - m4;
    y(0, sum_a + sum_b + m0);
    y(1, a * apart_a + b * apart_b);
    y(2, aa * sum_a + bb * sum_b);
    y(3, a * aa * apart_a + b * bb * apart_b + m5);
  }
};

SF_HD Lanes read(const float* p) { return *reinterpret_cast<const LooseLanes*>(p); }
SF_HD void write(float* p, Lanes values) { *reinterpret_cast<LooseLanes*>(p) = values; }

// Maps of channels side by side, cut into tiles of `out` positions a side.
struct Maps {
  int64_t batch, height, width, channels, down, across;

  Maps(const Tensor& t, int64_t out)
      : batch(t.size(0)), height(t.size(1)), width(t.size(2)), channels(t.size(3)), down(height / out),
        across(width / out) {}

  int64_t tiles() const { return batch * down * across; }
  int64_t row(int64_t tile) const { return tile / across % down; }
  int64_t column(int64_t tile) const { return tile % across; }
  // Of a position of a tile's map, which may lie outside it.
  bool holds(int64_t y, int64_t x) const { return 0 <= y && y < height && 0 <= x && x < width; }
  int64_t at(int64_t tile, int64_t y, int64_t x) const {
    return ((tile / across / down * height + y) * width + x) * channels;
  }
};

// One transform along the columns of every row, kRows of them with kTo results each, then along what became of the rows.
template <int64_t kRows, int64_t kTo, class One, class In, class Out>
SF_HD void both_ways(const One& one, const In& in, const Out& out) {
  Lanes half[kRows][kTo];
#pragma GCC unroll 6
  for (int64_t i = 0; i < kRows; ++i)
    one([&](int64_t j) SF_INLINE { return in(i, j); }, [&](int64_t j, Lanes v) SF_INLINE { half[i][j] = v; });
#pragma GCC unroll 6
  for (int64_t j = 0; j < kTo; ++j)
    one([&](int64_t i) SF_INLINE { return half[i][j]; }, [&](int64_t i, Lanes v) SF_INLINE { out(i, j, v); });
}

// from: a tile's inputs by position, row by row; to: its place in the first transformed matrix.
template <class Size>
SF_HD void tile_into(const float* const* from, int64_t channels, float* to, int64_t matrix) {
  constexpr int64_t n = Size::kIn;
  for (int64_t c = 0; c < channels; c += kLanes)
    both_ways<n, n>([](const auto& d, const auto& v) SF_INLINE { Size::into(d, v); },
                    [&](int64_t i, int64_t j) SF_INLINE { return read(from[i * n + j] + c); },
                    [&](int64_t i, int64_t j, Lanes v) SF_INLINE { write(to + (i * n + j) * matrix + c, v); });
}

// from: a tile's row in every product; to: its outputs by position, row by row.
template <class Size>
SF_HD void tile_back(const float* const* from, const float* bias, int64_t channels, float* const* to) {
  constexpr int64_t n = Size::kIn, out = Size::kOut;
  for (int64_t c = 0; c < channels; c += kLanes) {
    const Lanes more = bias ? read(bias + c) : Lanes{};
    both_ways<n, out>([](const auto& m, const auto& y) SF_INLINE { Size::back(m, y); },
                      [&](int64_t i, int64_t j) SF_INLINE { return read(from[i * n + j] + c); },
                      [&](int64_t i, int64_t j, Lanes v) SF_INLINE { write(to[i * out + j] + c, v + more); });
  }
}

SF_WIDE void two_into(const float* const* from, int64_t channels, float* to, int64_t matrix) {
  tile_into<Two>(from, channels, to, matrix);
}
SF_WIDE void four_into(const float* const* from, int64_t channels, float* to, int64_t matrix) {
  tile_into<Four>(from, channels, to, matrix);
}
SF_WIDE void two_back(const float* const* from, const float* bias, int64_t channels, float* const* to) {
  tile_back<Two>(from, bias, channels, to);
}
SF_WIDE void four_back(const float* const* from, const float* bias, int64_t channels, float* const* to) {
  tile_back<Four>(from, bias, channels, to);
}

// Some tiles that follow each other.
struct Run {
  int64_t first, count;
};

// body(tile, its row in the matrices)
template <class Size, class Body>
void for_tiles(const Maps& maps, Run run, const Body& body) {
  const int64_t grain = std::max<int64_t>(1, kTileFloats / (Size::kIn * Size::kIn * maps.channels));
  torch::stable::parallel_for(0, run.count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(run.first + row, row);
  });
}

template <class Size>
void all_into(const Maps& maps, Run run, const float* x, const float* nothing, float* to, int64_t matrix) {
  constexpr int64_t n = Size::kIn;
  for_tiles<Size>(maps, run, [&](int64_t tile, int64_t row) {
    const float* from[n * n];
    for (int64_t k = 0; k < n * n; ++k) {
      const int64_t y = maps.row(tile) * Size::kOut + k / n - 1, column = maps.column(tile) * Size::kOut + k % n - 1;
      from[k] = maps.holds(y, column) ? x + maps.at(tile, y, column) : nothing;
    }
    const auto transform = n == 4 ? two_into : four_into;
    transform(from, maps.channels, to + row * maps.channels, matrix);
  });
}

template <class Size>
void all_back(const Maps& maps, Run run, const float* products, int64_t matrix, const float* bias, float* image) {
  constexpr int64_t n = Size::kIn, out = Size::kOut;
  for_tiles<Size>(maps, run, [&](int64_t tile, int64_t row) {
    const float* from[n * n];
    float* to[out * out];
    for (int64_t k = 0; k < n * n; ++k) from[k] = products + k * matrix + row * maps.channels;
    for (int64_t k = 0; k < out * out; ++k)
      to[k] = image + maps.at(tile, maps.row(tile) * out + k / out, maps.column(tile) * out + k % out);
    const auto transform = n == 4 ? two_back : four_back;
    transform(from, bias, maps.channels, to);
  });
}

// How many positions a side a tile gives, by how many matrices there are.
int64_t outputs_of(int64_t matrices, const char* op) {
  STD_TORCH_CHECK(matrices == 16 || matrices == 36, op, ": expected 16 or 36 matrices, found ", matrices, ".");
  return matrices == 16 ? Two::kOut : Four::kOut;
}

Maps maps_of(const Tensor& t, int64_t out, const char* op, const char* name) {
  STD_TORCH_CHECK(t.dim() == 4 && t.is_contiguous() && t.size(1) % out == 0 && t.size(2) % out == 0 &&
                      t.size(3) % kLanes == 0,
                  op, ": ", name, " must be a contiguous [B, H, W, C] of whole tiles and a multiple of ", kLanes,
                  " channels.");
  return Maps(t, out);
}

void check_run(const Maps& maps, Run run, const char* op) {
  STD_TORCH_CHECK(0 <= run.first && run.first + run.count <= maps.tiles(), op, ": expected ", run.count,
                  " tiles of ", maps.tiles(), ", found the first at ", run.first, ".");
}

void check_matrices(const Tensor& t, const char* op, const char* name) {
  STD_TORCH_CHECK(t.dim() == 3, op, ": ", name, " must be [matrices, tiles, C].");
}

void check_rows(const Tensor& t, const Maps& maps, const char* op, const char* name, const char* of) {
  STD_TORCH_CHECK(t.size(2) == maps.channels && t.stride(2) == 1 && t.stride(1) == maps.channels &&
                      t.stride(0) >= t.size(1) * maps.channels,
                  op, ": ", name, " must have the channels of ", of, ", each matrix contiguous.");
}

void winograd_tiles(const Tensor& x, int64_t first, const Tensor& tiles) {
  const char* op = "winograd_tiles";
  check_matrices(tiles, op, "tiles");
  const Maps maps = maps_of(x, outputs_of(tiles.size(0), op), op, "x");
  const Run run{first, tiles.size(1)};
  check_run(maps, run, op);
  check_rows(tiles, maps, op, "tiles", "x");
  check_apart(op, {place_of(x)}, {place_to_write(tiles, op, "tiles")});
  const std::vector<float> nothing(maps.channels);
  const auto all = tiles.size(0) == 16 ? all_into<Two> : all_into<Four>;
  all(maps, run, x.const_data_ptr<float>(), nothing.data(), tiles.mutable_data_ptr<float>(), tiles.stride(0));
}

void winograd_image(const Tensor& products, const MaybeTensor& bias, int64_t first, const Tensor& image) {
  const char* op = "winograd_image";
  check_matrices(products, op, "products");
  const Maps maps = maps_of(image, outputs_of(products.size(0), op), op, "image");
  const Run run{first, products.size(1)};
  check_run(maps, run, op);
  check_rows(products, maps, op, "products", "image");
  check_apart(op, {place_of_slices(products, op, "products"), place_of(bias)}, {place_of(image)});
  const float* more = bias ? read_from<float>(*bias, maps.channels, op, "bias") : nullptr;
  const auto all = products.size(0) == 16 ? all_back<Two> : all_back<Four>;
  all(maps, run, products.const_data_ptr<float>(), products.stride(0), more, image.mutable_data_ptr<float>());
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CPU, library) {
  library.impl("winograd_tiles", TORCH_BOX(&sf::winograd_tiles));
  library.impl("winograd_image", TORCH_BOX(&sf::winograd_image));
}
