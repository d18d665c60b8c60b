// fp32 products on AMX, whose tiles multiply bf16 some fifteen times as fast as the vector units multiply fp32.
//
// Every number is the sum of three bf16 parts of 8 bits each, which is exact: x = x0 + x1 + x2. Of the nine products of
// parts the six larger ones are added up in fp32; of the three left out none is over 2^-24 of the product, and most are far
// below. The error is that of a plain fp32 product or less, as the tests measure it.
//
// Data flow: the parts of the smaller side are packed once, by all threads, for all of them. Each thread packs its share of
// the larger side, and goes through the result in blocks of 32 x 32 that stay in four tiles. What a block is does not
// depend on how many threads there are, nor on how many rows the product has.
//
// Not as in plain fp32: an infinite factor gives NaN, and parts under 2^-126 count as zero.

#include <ATen/Parallel.h>
#include <ATen/cpu/vec/vec.h>
#include <ATen/ops/empty.h>
#include <immintrin.h>
#include <sys/mman.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace {

constexpr int64_t TILE = 16;                     // rows of a tile; a row is 64 bytes
constexpr int64_t STEP = 32;                     // what a tile has of the inner dimension
constexpr int64_t BLOCK = 2 * TILE;              // rows and columns of a block of the result
constexpr int64_t PARTS = 3;                     // bf16 parts of a number
constexpr int64_t PART = BLOCK * STEP;           // bf16 numbers of one part of a packed step: two tiles
constexpr int64_t SLICE = PARTS * PART;          // bf16 numbers of a packed step
constexpr int64_t DEEP = 512;                    // the most of the inner dimension that is packed at a time
constexpr int64_t OWN = 256 / BLOCK;             // blocks of a thread's side at a time: they stay in its L2 cache
constexpr int64_t SHARED = 4096 / BLOCK;         // blocks of the shared side at a time: at most 12 MiB

struct Matrix {
  const float* at;
  int64_t rows, columns, down, right;  // down, right: from a number to the next one of its column, of its row
};

// Memory that a thread keeps from product to product, in pages as large as the system has them.
class Room {
  void* start_ = nullptr;
  size_t size_ = 0;

 public:
  ~Room() { std::free(start_); }
  uint16_t* of(size_t numbers) {
    constexpr size_t PAGE = 2 << 20;
    size_t wanted = (numbers * sizeof(uint16_t) + PAGE - 1) / PAGE * PAGE;
    if (wanted > size_) {
      std::free(start_);
      start_ = std::aligned_alloc(PAGE, wanted);
      size_ = start_ ? wanted : 0;
      if (start_) madvise(start_, wanted, MADV_HUGEPAGE);
      TORCH_CHECK_WITH(OutOfMemoryError, start_, "no memory for ", wanted, " bytes of packed factors");
    }
    return static_cast<uint16_t*>(start_);
  }
};

int64_t over(int64_t n, int64_t by) { return (n + by - 1) / by; }

// ROWS x COLUMNS numbers of m from (row, column) on, line after line, `down` apart: as they lie, or copied to `room`, with
// zeros where m has ended.
template <int64_t ROWS, int64_t COLUMNS>
const float* lines(const Matrix& m, int64_t row, int64_t column, float* room, int64_t& down) {
  const float* from = m.at + row * m.down + column * m.right;
  int64_t rows = std::min(ROWS, m.rows - row), columns = std::min(COLUMNS, m.columns - column);
  bool whole = rows == ROWS && columns == COLUMNS;
  if (whole && m.right == 1) {
    down = m.down;
    return from;
  }
  down = COLUMNS;
  if (whole && m.down == 1) {
    for (int64_t r = 0; r < ROWS; r += TILE)
      for (int64_t c = 0; c < COLUMNS; c += TILE)
        at::vec::transpose_mxn<float>(from + r + c * m.right, m.right, room + r * COLUMNS + c, COLUMNS, TILE, TILE);
    return room;
  }
  std::fill(room, room + ROWS * COLUMNS, 0.0f);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) room[r * COLUMNS + c] = from[r * m.down + c * m.right];
  return room;
}

// The nearest bf16 numbers, ties to even, as the upper halves of 32 bits.
__m512i nearest(__m512 x) {
  __m512i bits = _mm512_castps_si512(x);
  __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  bits = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  return _mm512_and_si512(bits, _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
}

// Takes the next part off x.
__m512i part_of(__m512& x) {
  __m512i part = nearest(x);
  x = _mm512_sub_ps(x, _mm512_castsi512_ps(part));
  return part;
}

void store_halves(uint16_t* to, __m512i upper) {
  __m256i halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32(upper, 16));
  _mm256_store_si256(reinterpret_cast<__m256i*>(to), halves);
}

// A tile of each part of a left factor: 16 rows of 32 numbers.
void pack_left(const Matrix& a, int64_t row, int64_t k, uint16_t* out) {
  alignas(64) float room[TILE * STEP];
  int64_t down = 0;
  const float* from = lines<TILE, STEP>(a, row, k, room, down);
  for (int64_t r = 0; r < TILE; ++r) {
    __m512 first = _mm512_loadu_ps(from + r * down), second = _mm512_loadu_ps(from + r * down + TILE);
    for (int64_t p = 0; p < PARTS; ++p) {
      store_halves(out + p * PART + r * STEP, part_of(first));
      store_halves(out + p * PART + r * STEP + TILE, part_of(second));
    }
  }
}

// A tile of each part of a right factor: 16 lines, each of two of its rows, interleaved.
void pack_right(const Matrix& b, int64_t k, int64_t column, uint16_t* out) {
  alignas(64) float room[STEP * TILE];
  int64_t down = 0;
  const float* from = lines<STEP, TILE>(b, k, column, room, down);
  for (int64_t r = 0; r < TILE; ++r) {
    __m512 even = _mm512_loadu_ps(from + 2 * r * down), odd = _mm512_loadu_ps(from + (2 * r + 1) * down);
    for (int64_t p = 0; p < PARTS; ++p) {
      __m512i lower = _mm512_srli_epi32(part_of(even), 16);
      _mm512_store_si512(out + p * PART + r * STEP, _mm512_or_si512(lower, part_of(odd)));
    }
  }
}

// Asks for the 32 lines of m that the step at (row, column) reads, 128 bytes of each. GCC drops calls of a function that only
// prefetches, so it has to be inlined.
[[gnu::always_inline]] inline void fetch(const Matrix& m, int64_t row, int64_t column) {
  const float* from = m.at + row * m.down + column * m.right;
  const int64_t line = m.right == 1 ? m.down : m.right;
  for (int64_t r = 0; r < BLOCK; ++r) {
    __builtin_prefetch(from + r * line);
    __builtin_prefetch(from + r * line + TILE);
  }
}

// A packed block: for each step the tiles of two times 16 rows of a left factor, or columns of a right one.
void pack(const Matrix& m, bool left, int64_t block, int64_t k, int64_t steps, uint16_t* out) {
  for (int64_t s = 0; s < steps; ++s) {
    const int64_t here = k + s * STEP, next = here + STEP, first = block * BLOCK;
    left ? fetch(m, first, next) : fetch(m, next, first);
    for (int64_t half = 0; half < 2; ++half) {
      uint16_t* to = out + s * SLICE + half * TILE * STEP;
      const int64_t line = first + half * TILE;
      left ? pack_left(m, line, here, to) : pack_right(m, here, line, to);
    }
  }
}

// All eight tiles at full size while it lives; what was configured before, by oneDNN, comes back.
class Tiles {
  struct alignas(64) Config {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  static void load(const void* config) {
    asm volatile("" ::: "memory");  // the instruction reads 64 bytes, of which GCC knows eight
    _tile_loadconfig(config);
  }
  alignas(64) uint8_t before_[64];

 public:
  Tiles() {
    static const Config full;
    _tile_storeconfig(before_);
    load(&full);
  }
  ~Tiles() { load(before_); }
};

// c (+)= a b for two packed blocks; the lines of c are `down` numbers apart. Small products come before large ones. Meanwhile
// c comes near, and so does what stands at `soon`: `each` cache lines a step.
void multiply(const uint16_t* a, const uint16_t* b, int64_t steps, float* c, int64_t down, bool add, const uint16_t* soon,
              int64_t each) {
  constexpr int64_t LINE = STEP * sizeof(uint16_t), HALF = TILE * STEP;
  const int64_t line = down * static_cast<int64_t>(sizeof(float));
  for (int64_t r = 0; r < BLOCK; ++r) {
    __builtin_prefetch(c + r * down, 1);
    __builtin_prefetch(c + r * down + TILE, 1);
  }
  if (add) {
    _tile_loadd(0, c, line);
    _tile_loadd(1, c + TILE, line);
    _tile_loadd(2, c + TILE * down, line);
    _tile_loadd(3, c + TILE * down + TILE, line);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t s = 0; s < steps; ++s, a += SLICE, b += SLICE) {
    for (int64_t l = 0; l < each; ++l) _mm_prefetch(soon + (s * each + l) * STEP, _MM_HINT_T1);
    for (int64_t p = PARTS - 1; p >= 0; --p) {
      _tile_loadd(4, a + p * PART, LINE);
      _tile_loadd(5, a + p * PART + HALF, LINE);
      for (int64_t q = PARTS - 1 - p; q >= 0; --q) {
        _tile_loadd(6, b + q * PART, LINE);
        _tile_loadd(7, b + q * PART + HALF, LINE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
  }
  _tile_stored(0, c, line);
  _tile_stored(1, c + TILE, line);
  _tile_stored(2, c + TILE * down, line);
  _tile_stored(3, c + TILE * down + TILE, line);
}

// The same at an edge of c, where only `rows` x `columns` of the block are there.
void multiply_edge(const uint16_t* a, const uint16_t* b, int64_t steps, float* c, int64_t down, bool add, int64_t rows,
                   int64_t columns) {
  alignas(64) float block[BLOCK * BLOCK] = {};
  for (int64_t r = 0; add && r < rows; ++r) std::copy_n(c + r * down, columns, block + r * BLOCK);
  multiply(a, b, steps, block, BLOCK, add, nullptr, 0);
  for (int64_t r = 0; r < rows; ++r) std::copy_n(block + r * BLOCK, columns, c + r * down);
}

// c (+)= a b for the inner dimension from k on, `steps` of it, and for the shared side's blocks from `first` on, `shared` of
// them, which are packed to `packed`. With `own_left` the threads share out the rows of a, else the columns of b.
void add_chunk(const Matrix& a, const Matrix& b, float* c, int64_t k, int64_t steps, int64_t first, int64_t shared,
               bool own_left, uint16_t* packed) {
  const int64_t size = steps * SLICE, width = b.columns;
  const Matrix &mine = own_left ? a : b, &theirs = own_left ? b : a;
  at::parallel_for(0, shared, 1, [&](int64_t from, int64_t to) {
    for (int64_t j = from; j < to; ++j) pack(theirs, !own_left, first + j, k, steps, packed + j * size);
  });
  const int64_t blocks = over(own_left ? a.rows : width, BLOCK);
  at::parallel_for(0, blocks, over(blocks, at::get_num_threads()), [&](int64_t from, int64_t to) {
    static thread_local Room room;
    Tiles tiles;
    for (int64_t start = from; start < to; start += OWN) {
      const int64_t end = std::min(to, start + OWN);
      uint16_t* own = room.of((end - start) * size);
      for (int64_t i = start; i < end; ++i) pack(mine, own_left, i, k, steps, own + (i - start) * size);
      const int64_t each = over(SLICE / STEP, end - start);  // cache lines of the next shared block, a step
      for (int64_t j = 0; j < shared; ++j)
        for (int64_t i = start; i < end; ++i) {
          const uint16_t* soon = packed + (j + 1) * size + (i - start) * each * steps * STEP;
          const uint16_t *x = own + (i - start) * size, *y = packed + j * size;
          int64_t row = i * BLOCK, column = (first + j) * BLOCK;
          if (!own_left) {
            std::swap(x, y);
            std::swap(row, column);
          }
          float* to_block = c + row * width + column;
          const int64_t rows = std::min(BLOCK, a.rows - row), columns = std::min(BLOCK, width - column);
          if (rows == BLOCK && columns == BLOCK)
            multiply(x, y, steps, to_block, width, k > 0, soon, j + 1 < shared ? each : 0);
          else
            multiply_edge(x, y, steps, to_block, width, k > 0, rows, columns);
        }
    }
  });
}

at::Tensor& product_out(const at::Tensor& a, const at::Tensor& b, at::Tensor& out) {
  TORCH_CHECK(a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(0), "no product of ", a.sizes(), " and ", b.sizes());
  for (const at::Tensor& x : {a, b, out}) TORCH_CHECK(x.scalar_type() == at::kFloat, "a product on tiles is of fp32");
  TORCH_CHECK(out.is_contiguous() && out.numel() == a.size(0) * b.size(1), "no room for the product in ", out.sizes());
  const Matrix x{a.const_data_ptr<float>(), a.size(0), a.size(1), a.stride(0), a.stride(1)};
  const Matrix y{b.const_data_ptr<float>(), b.size(0), b.size(1), b.stride(0), b.stride(1)};
  if (x.columns == 0) return out.zero_();
  const int64_t steps = over(over(x.columns, over(x.columns, DEEP)), STEP);
  const bool own_left = x.rows >= y.columns;
  const int64_t shared = over(own_left ? y.columns : x.rows, BLOCK);
  static thread_local Room room;
  uint16_t* packed = room.of(steps * std::min(shared, SHARED) * SLICE);
  float* c = out.data_ptr<float>();
  for (int64_t first = 0; first < shared; first += SHARED)
    for (int64_t k = 0; k < x.columns; k += steps * STEP) {
      const int64_t rest = over(x.columns - k, STEP);
      add_chunk(x, y, c, k, std::min(steps, rest), first, std::min(SHARED, shared - first), own_left, packed);
    }
  return out;
}

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  at::Tensor out = at::empty({a.size(0), b.size(1)}, a.options());
  return product_out(a, b, out);
}

}  // namespace

TORCH_LIBRARY(appliance, library) {
  library.def("product(Tensor a, Tensor b) -> Tensor");
  library.def("product.out(Tensor a, Tensor b, *, Tensor(a!) out) -> Tensor(a!)");
}
TORCH_LIBRARY_IMPL(appliance, CPU, library) {
  library.impl("product", &product);
  library.impl("product.out", &product_out);
}
