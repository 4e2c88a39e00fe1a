// Products with one thin side.
#include "thin.cuh"

#include "factors.cuh"
#include "tensor_cores.cuh"

namespace pipe::cuda {

namespace {

// Whether rows of W, and their parts, are read eight elements at a time.
bool in_eights(const ThinShape& s) {
  bool eights = s.columns % 8 == 0 && s.stride % 8 == 0;
  for (int64_t i = 0; i < s.parts; ++i) eights = eights && s.offsets[i] % 8 == 0;
  return eights;
}

// Coefficients (j .. j + width, r .. r + ranks) of a part; 0 past the last rank. `c` is where the part begins.
template <int width, int ranks>
__device__ void coefficients(float (&to)[width][ranks], const float* c, int64_t j, int64_t r, const ThinShape& s) {
  if constexpr (width % 4 == 0) {
    if (s.j_stride == 1 && s.r_stride % 4 == 0) {
#pragma unroll
      for (int i = 0; i < ranks; ++i)
#pragma unroll
        for (int k = 0; k < width; k += 4) {
          const float4 four =
              r + i < s.rank ? *reinterpret_cast<const float4*>(c + (r + i) * s.r_stride + j + k) : float4{};
          to[k][i] = four.x, to[k + 1][i] = four.y, to[k + 2][i] = four.z, to[k + 3][i] = four.w;
        }
      return;
    }
  }
  if constexpr (ranks % 4 == 0) {
    if (s.r_stride == 1 && s.rank % 4 == 0) {
#pragma unroll
      for (int k = 0; k < width; ++k)
#pragma unroll
        for (int i = 0; i < ranks; i += 4) {
          const float4 four =
              r + i < s.rank ? *reinterpret_cast<const float4*>(c + (j + k) * s.j_stride + r + i) : float4{};
          to[k][i] = four.x, to[k][i + 1] = four.y, to[k][i + 2] = four.z, to[k][i + 3] = four.w;
        }
      return;
    }
  }
#pragma unroll
  for (int k = 0; k < width; ++k)
#pragma unroll
    for (int i = 0; i < ranks; ++i)
      to[k][i] = r + i < s.rank ? c[(j + k) * s.j_stride + (r + i) * s.r_stride] : 0.0f;
}

// ---- U = scale W C, on tensor cores ------------------------------------------------------------------------------

constexpr int hidden_warps = 16;
constexpr int hidden_rows = 16;
constexpr int hidden_ahead = 2;  // steps of 32 columns whose rows are read before they are multiplied

// A block takes 16 rows and 8 * tiles ranks of a part, and cuts the columns among its warps, 32 at a time. A sum over
// columns may take them in any order: each lane reads eight neighbours of its rows and of C, and hands the tensor cores
// pairs of them as if they were the pairs that the instruction's layout puts there.
template <int tiles>
__global__ void __launch_bounds__(hidden_warps* warp)
    thin_hidden_halves(Out u, const __nv_bfloat16* w, const float* c, const __grid_constant__ ThinShape s) {
  __shared__ float of_warp[hidden_warps][hidden_rows][tiles * 8];
  const int lane = threadIdx.x % warp, which = threadIdx.x / warp;
  const int group = lane / 4, quarter = lane % 4;
  const int64_t first_row = int64_t{blockIdx.x} * hidden_rows;
  const int64_t first_rank = int64_t{blockIdx.y} * (tiles * 8);
  const int64_t part = blockIdx.z;
  w += s.offsets[part];
  c += part * s.part_stride;
  float total[tiles][4] = {};
  for (int64_t first = which * 32; first < s.columns; first += hidden_warps * 32 * hidden_ahead) {
    uint4 rows[hidden_ahead][2] = {};
#pragma unroll
    for (int a = 0; a < hidden_ahead; ++a)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int64_t row = first_row + group + i * 8, j = first + a * hidden_warps * 32 + quarter * 8;
        if (j < s.columns && row < s.N) rows[a][i] = *reinterpret_cast<const uint4*>(w + row * s.stride + j);
      }
#pragma unroll
    for (int a = 0; a < hidden_ahead; ++a)
#pragma unroll
      for (int tile = 0; tile < tiles; ++tile) {
        float of_c[8][1] = {};
        const int64_t rank = first_rank + tile * 8 + group, j = first + a * hidden_warps * 32 + quarter * 8;
        if (j < s.columns && rank < s.rank) coefficients(of_c, c, j, rank, s);
        const uint32_t pairs[4] = {bf16_pair(of_c[0][0], of_c[1][0]), bf16_pair(of_c[2][0], of_c[3][0]),
                                   bf16_pair(of_c[4][0], of_c[5][0]), bf16_pair(of_c[6][0], of_c[7][0])};
        multiply_add(total[tile], {rows[a][0].x, rows[a][1].x, rows[a][0].y, rows[a][1].y}, pairs[0], pairs[1]);
        multiply_add(total[tile], {rows[a][0].z, rows[a][1].z, rows[a][0].w, rows[a][1].w}, pairs[2], pairs[3]);
      }
  }
#pragma unroll
  for (int tile = 0; tile < tiles; ++tile)
#pragma unroll
    for (int i = 0; i < 4; ++i) of_warp[which][group + i / 2 * 8][tile * 8 + quarter * 2 + i % 2] = total[tile][i];
  __syncthreads();
  for (int i = threadIdx.x; i < hidden_rows * tiles * 8; i += hidden_warps * warp) {
    const int64_t row = first_row + i / (tiles * 8), rank = first_rank + i % (tiles * 8);
    if (row >= s.N || rank >= s.rank) continue;
    float sum = 0;
#pragma unroll
    for (int k = 0; k < hidden_warps; ++k) sum += of_warp[k][i / (tiles * 8)][i % (tiles * 8)];
    store(u, row * s.hidden() + part * s.rank + rank, s.scale * sum);
  }
}

// ---- U = scale W C, in float32 -----------------------------------------------------------------------------------

constexpr int float_threads = 128;
constexpr int float_rows = 4;
constexpr int float_ranks = 8;

// A block takes four rows and eight ranks of a part, and cuts the columns among its threads.
template <int width>
__global__ void __launch_bounds__(float_threads) thin_hidden_floats(Out u, In w, const float* c, const __grid_constant__ ThinShape s) {
  __shared__ float of_warp[float_threads / warp][float_rows][float_ranks];
  const int64_t first_row = int64_t{blockIdx.x} * float_rows;
  const int64_t first_rank = int64_t{blockIdx.y} * float_ranks;
  const int64_t part = blockIdx.z;
  c += part * s.part_stride;
  float total[float_rows][float_ranks] = {};
  for (int64_t j = threadIdx.x * width; j < s.columns; j += float_threads * width) {
    float of_w[float_rows][width] = {}, of_c[width][float_ranks];
#pragma unroll
    for (int n = 0; n < float_rows; ++n)
      if (first_row + n < s.N) load<width>(of_w[n], w, (first_row + n) * s.stride + s.offsets[part] + j);
    coefficients(of_c, c, j, first_rank, s);
#pragma unroll
    for (int k = 0; k < width; ++k)
#pragma unroll
      for (int n = 0; n < float_rows; ++n)
#pragma unroll
        for (int r = 0; r < float_ranks; ++r) total[n][r] += of_w[n][k] * of_c[k][r];
  }
#pragma unroll
  for (int n = 0; n < float_rows; ++n)
#pragma unroll
    for (int r = 0; r < float_ranks; ++r) {
      const float sum = warp_sum(total[n][r]);
      if (threadIdx.x % warp == 0) of_warp[threadIdx.x / warp][n][r] = sum;
    }
  __syncthreads();
  if (threadIdx.x >= float_rows * float_ranks) return;
  const int n = threadIdx.x / float_ranks, r = threadIdx.x % float_ranks;
  if (first_row + n >= s.N || first_rank + r >= s.rank) return;
  float sum = 0;
  for (int k = 0; k < float_threads / warp; ++k) sum += of_warp[k][n][r];
  store(u, (first_row + n) * s.hidden() + part * s.rank + first_rank + r, s.scale * sum);
}

// ---- C = scale W^T U, on tensor cores -----------------------------------------------------------------------------

constexpr int piece_warps = 8;
constexpr int64_t rows_per_warp = 32;
constexpr int64_t rows_per_halves_piece = piece_warps * rows_per_warp;
constexpr int piece_columns = 64;
constexpr int piece_ranks = 16;

// Element i of two vectors of eight, side by side.
__device__ uint32_t paired(const uint4& low, const uint4& high, int i) {
  const uint32_t of_low = reinterpret_cast<const uint32_t*>(&low)[i / 2];
  const uint32_t of_high = reinterpret_cast<const uint32_t*>(&high)[i / 2];
  return i % 2 == 0 ? __byte_perm(of_low, of_high, 0x5410) : __byte_perm(of_low, of_high, 0x7632);
}

// pieces[piece, part, rank, columns]: a block sums 64 columns and 16 ranks of a part over 256 rows, a warp 32 of them; the
// warps' sums are added in order. A lane reads eight neighbouring columns of the four rows that an instruction wants of
// it, so that its eight columns belong to eight instructions, and no element changes lanes.
__global__ void __launch_bounds__(piece_warps* warp)
    thin_gradient_halves(float* pieces, const __nv_bfloat16* w, const __nv_bfloat16* u, const __grid_constant__ ThinShape s) {
  // Rows are longer than they need be, so that what is read or written at once lies in different banks.
  __shared__ __align__(16) __nv_bfloat16 of_u[rows_per_halves_piece][piece_ranks + 8];
  __shared__ float of_warp[piece_warps][piece_ranks][piece_columns + 2];
  const int lane = threadIdx.x % warp, which = threadIdx.x / warp;
  const int group = lane / 4, quarter = lane % 4;
  const int64_t tiles = (s.rank + piece_ranks - 1) / piece_ranks;
  const int64_t part = blockIdx.z / tiles, first_rank = blockIdx.z % tiles * piece_ranks;
  const int64_t first_column = int64_t{blockIdx.x} * piece_columns;
  const int64_t column = first_column + group * 8;
  const int64_t block_row = blockIdx.y * rows_per_halves_piece;
  const int64_t first_row = block_row + which * rows_per_warp;
  w += s.offsets[part] + column;
  uint4 rows[rows_per_warp / 16][4] = {};
#pragma unroll
  for (int step = 0; step < rows_per_warp / 16; ++step)
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // rows 2q, 2q + 1, 2q + 8, 2q + 9
      const int64_t row = first_row + step * 16 + quarter * 2 + i % 2 + i / 2 * 8;
      if (row < s.N && column < s.columns) rows[step][i] = *reinterpret_cast<const uint4*>(w + row * s.stride);
    }
  u += part * s.rank + first_rank;
  for (int i = threadIdx.x; i < rows_per_halves_piece * piece_ranks / 2; i += piece_warps * warp) {
    const int row = i / (piece_ranks / 2), rank = i % (piece_ranks / 2) * 2;
    const bool real = block_row + row < s.N && first_rank + rank < s.rank;
    *reinterpret_cast<uint32_t*>(&of_u[row][rank]) =
        real ? *reinterpret_cast<const uint32_t*>(u + (block_row + row) * s.hidden() + rank) : 0;
  }
  __syncthreads();
  float total[8][4] = {};
#pragma unroll
  for (int step = 0; step < rows_per_warp / 16; ++step) {
    uint32_t left[4];
    load_matrices_trans(left, &of_u[which * rows_per_warp + step * 16 + lane / 16 * 8 + lane % 8][lane / 8 % 2 * 8]);
#pragma unroll
    for (int i = 0; i < 8; ++i)
      multiply_add(total[i], left, paired(rows[step][0], rows[step][1], i), paired(rows[step][2], rows[step][3], i));
  }
#pragma unroll
  for (int i = 0; i < 8; ++i)
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      // Of instruction i, a lane holds columns 2q and 2q + 1, which are those of groups 2q and 2q + 1.
      of_warp[which][group + k / 2 * 8][(quarter * 2 + k % 2) * 8 + i] = total[i][k];
    }
  __syncthreads();
  for (int i = threadIdx.x; i < piece_ranks * piece_columns; i += piece_warps * warp) {
    const int rank = i / piece_columns, j = i % piece_columns;
    if (first_rank + rank >= s.rank || first_column + j >= s.columns) continue;
    float sum = 0;
#pragma unroll
    for (int k = 0; k < piece_warps; ++k) sum += of_warp[k][rank][j];
    pieces[((blockIdx.y * s.parts + part) * s.rank + first_rank + rank) * s.columns + first_column + j] = sum;
  }
}

// ---- C = scale W^T U, in float32 ----------------------------------------------------------------------------------

constexpr int gradient_warps = 8;
constexpr int gradient_threads = gradient_warps * warp;
constexpr int gradient_ranks = 8;
constexpr int64_t rows_per_piece = 128;

// pieces[piece, part, rank, columns]: a lane sums `width` columns for eight ranks over its warp's rows of the piece; then
// the warps' sums are added in order, half of the ranks at a time.
template <int width>
__global__ void __launch_bounds__(gradient_threads)
    thin_gradient_pieces(float* pieces, In w, In u, const __grid_constant__ ThinShape s) {
  __shared__ float of_u[rows_per_piece][gradient_ranks];
  __shared__ float of_warp[gradient_warps][gradient_ranks / 2][warp * width];
  const int64_t tiles = (s.rank + gradient_ranks - 1) / gradient_ranks;
  const int64_t part = blockIdx.z / tiles, first_rank = blockIdx.z % tiles * gradient_ranks;
  const int64_t begin = blockIdx.y * rows_per_piece;
  for (int i = threadIdx.x; i < rows_per_piece * gradient_ranks; i += gradient_threads) {
    const int64_t n = begin + i / gradient_ranks, r = first_rank + i % gradient_ranks;
    of_u[i / gradient_ranks][i % gradient_ranks] =
        n < s.N && r < s.rank ? load(u, n * s.hidden() + part * s.rank + r) : 0.0f;
  }
  __syncthreads();
  const int lane = threadIdx.x % warp, which = threadIdx.x / warp;
  const int64_t first_column = int64_t{blockIdx.x} * (warp * width);
  const int64_t j = first_column + lane * width;
  float total[gradient_ranks][width] = {};
  if (j < s.columns) {
#pragma unroll 4
    for (int n = which; n < rows_per_piece; n += gradient_warps) {
      if (begin + n >= s.N) continue;
      float of_w[width];
      load<width>(of_w, w, (begin + n) * s.stride + s.offsets[part] + j);
#pragma unroll
      for (int r = 0; r < gradient_ranks; ++r)
#pragma unroll
        for (int k = 0; k < width; ++k) total[r][k] += of_w[k] * of_u[n][r];
    }
  }
#pragma unroll
  for (int half = 0; half < gradient_ranks; half += gradient_ranks / 2) {
    __syncthreads();
#pragma unroll
    for (int r = 0; r < gradient_ranks / 2; ++r)
#pragma unroll
      for (int k = 0; k < width; ++k) of_warp[which][r][lane * width + k] = total[half + r][k];
    __syncthreads();
    for (int i = threadIdx.x; i < gradient_ranks / 2 * warp * width; i += gradient_threads) {
      const int r = i / (warp * width), column = i % (warp * width);
      if (first_column + column >= s.columns || first_rank + half + r >= s.rank) continue;
      float sum = 0;
#pragma unroll
      for (int k = 0; k < gradient_warps; ++k) sum += of_warp[k][r][column];
      const int64_t row = (blockIdx.y * s.parts + part) * s.rank + first_rank + half + r;
      pieces[row * s.columns + first_column + column] = sum;
    }
  }
}

// C = the pieces, in order.
__global__ void thin_gradient_forward(float* c, const float* pieces, int64_t count, const __grid_constant__ ThinShape s) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t size = s.parts * s.rank * s.columns;
  if (i >= size) return;
  float total = 0;
#pragma unroll 8
  for (int64_t piece = 0; piece < count; ++piece) total += pieces[piece * size + i];
  const int64_t j = i % s.columns, r = i / s.columns % s.rank, part = i / s.columns / s.rank;
  c[part * s.part_stride + j * s.j_stride + r * s.r_stride] = s.scale * total;
}

// ---- W = added + scale U C^T, on tensor cores ----------------------------------------------------------------------

constexpr int wide_warps = 4;
constexpr int wide_rows = 32;

// A warp takes 32 * groups columns of 32 rows, with the coefficients of up to 16 * steps ranks in registers. The four
// instructions that make 32 columns are given columns so that a lane has eight neighbours of a row in the end: column
// 8 (n / 2) + 2 i + n % 2 is column n of instruction i.
template <int steps, int groups>
__global__ void __launch_bounds__(wide_warps* warp)
    thin_update_halves(__nv_bfloat16* w, const __nv_bfloat16* added, const __nv_bfloat16* u, const float* c,
                       const __grid_constant__ ThinShape s) {
  const int lane = threadIdx.x % warp;
  const int group = lane / 4, quarter = lane % 4;
  const int64_t part = blockIdx.z;
  const int64_t first_column = (int64_t{blockIdx.x} * wide_warps + threadIdx.x / warp) * (groups * 32);
  if (first_column >= s.columns) return;
  c += part * s.part_stride;
  u += part * s.rank;
  uint32_t right[groups][steps][4][2];
#pragma unroll
  for (int g = 0; g < groups; ++g)
#pragma unroll
    for (int step = 0; step < steps; ++step)
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          const int64_t j = first_column + g * 32 + group / 2 * 8 + i * 2 + group % 2;
          const int64_t rank = step * 16 + quarter * 2 + k * 8;
          const float* place = c + j * s.j_stride + rank * s.r_stride;
          const bool real = j < s.columns && rank < s.rank;  // ranks are even
          right[g][step][i][k] = real ? bf16_pair(s.scale * place[0], s.scale * place[s.r_stride]) : 0;
        }
  // Of a lane: rows group, group + 8, and so on, eight columns of each group. All are read before any is written.
  constexpr int row_count = wide_rows / 8;
  const int64_t first_row = int64_t{blockIdx.y} * wide_rows + group;
  const int64_t place = first_row * s.stride + s.offsets[part] + first_column + quarter * 8;
  uint4 before[row_count][groups] = {};
#pragma unroll
  for (int k = 0; k < row_count; ++k)
#pragma unroll
    for (int g = 0; g < groups; ++g)
      if (added != nullptr && first_row + k * 8 < s.N && first_column + g * 32 + quarter * 8 < s.columns)
        before[k][g] = *reinterpret_cast<const uint4*>(added + place + k * 8 * s.stride + g * 32);
#pragma unroll
  for (int k = 0; k < row_count; k += 2) {
    uint32_t left[steps][4];
#pragma unroll
    for (int step = 0; step < steps; ++step)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t row = first_row + (k + i % 2) * 8;
        const int64_t rank = step * 16 + quarter * 2 + i / 2 * 8;
        left[step][i] =
            row < s.N && rank < s.rank ? *reinterpret_cast<const uint32_t*>(u + row * s.hidden() + rank) : 0;
      }
#pragma unroll
    for (int g = 0; g < groups; ++g) {
      float total[2][8];
      unpack(total[0], before[k][g]);
      unpack(total[1], before[k + 1][g]);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float piece[4] = {total[0][2 * i], total[0][2 * i + 1], total[1][2 * i], total[1][2 * i + 1]};
#pragma unroll
        for (int step = 0; step < steps; ++step)
          multiply_add(piece, left[step], right[g][step][i][0], right[g][step][i][1]);
        total[0][2 * i] = piece[0], total[0][2 * i + 1] = piece[1];
        total[1][2 * i] = piece[2], total[1][2 * i + 1] = piece[3];
      }
#pragma unroll
      for (int half = 0; half < 2; ++half)
        if (first_row + (k + half) * 8 < s.N && first_column + g * 32 + quarter * 8 < s.columns)
          *reinterpret_cast<uint4*>(w + place + (k + half) * 8 * s.stride + g * 32) = pack(total[half]);
    }
  }
}

// ---- W = added + scale U C^T, in float32 ---------------------------------------------------------------------------

constexpr int update_threads = 128;
constexpr int update_rows = 8;
constexpr int update_ranks = 4;

// A thread takes `width` columns of eight rows, four ranks at a time; U is in shared memory, where a warp reads one
// element.
template <int width>
__global__ void __launch_bounds__(update_threads)
    thin_update_forward(Out w, In added, In u, const float* c, const __grid_constant__ ThinShape s) {
  extern __shared__ float of_u[];  // [update_rows, rank rounded up to update_ranks]
  const int64_t part = blockIdx.z;
  const int64_t first_row = int64_t{blockIdx.y} * update_rows;
  const int64_t ranks = (s.rank + update_ranks - 1) / update_ranks * update_ranks;
  for (int64_t i = threadIdx.x; i < update_rows * ranks; i += update_threads) {
    const int64_t n = first_row + i / ranks, r = i % ranks;
    of_u[i] = n < s.N && r < s.rank ? s.scale * load(u, n * s.hidden() + part * s.rank + r) : 0.0f;
  }
  __syncthreads();
  const int64_t j = (int64_t{blockIdx.x} * update_threads + threadIdx.x) * width;
  if (j >= s.columns) return;
  c += part * s.part_stride;
  const int64_t place = first_row * s.stride + s.offsets[part] + j;
  const int rows = static_cast<int>(min(int64_t{update_rows}, s.N - first_row));
  float total[update_rows][width] = {};
  if (added.data != nullptr) {
#pragma unroll
    for (int n = 0; n < update_rows; ++n)
      if (n < rows) load<width>(total[n], added, place + n * s.stride);
  }
  for (int64_t r = 0; r < ranks; r += update_ranks) {
    float of_c[width][update_ranks];
    coefficients(of_c, c, j, r, s);
#pragma unroll
    for (int n = 0; n < update_rows; ++n)
#pragma unroll
      for (int i = 0; i < update_ranks; ++i) {
        const float hidden = of_u[n * ranks + r + i];
#pragma unroll
        for (int k = 0; k < width; ++k) total[n][k] += hidden * of_c[k][i];
      }
  }
#pragma unroll
  for (int n = 0; n < update_rows; ++n)
    if (n < rows) store<width>(w, place + n * s.stride, total[n]);
}

}  // namespace

void thin_hidden(Context& context, Out u, In w, const float* c, const ThinShape& s) {
  if (w.storage == Storage::bf16 && in_eights(s)) {
    using Kernel = void (*)(Out, const __nv_bfloat16*, const float*, ThinShape);
    static const Kernel kernels[] = {thin_hidden_halves<1>, thin_hidden_halves<2>, thin_hidden_halves<3>};
    const int64_t tiles = std::min<int64_t>(3, ceil_div(s.rank, 8));
    return launch(context, kernels[tiles - 1],
                  blocks(ceil_div(s.N, hidden_rows), ceil_div(s.rank, tiles * 8), s.parts), hidden_warps * warp, 0, u,
                  static_cast<const __nv_bfloat16*>(w.data), c, s);
  }
  launch(context, in_eights(s) ? thin_hidden_floats<8> : thin_hidden_floats<1>,
         blocks(ceil_div(s.N, float_rows), ceil_div(s.rank, float_ranks), s.parts), float_threads, 0, u, w, c, s);
}

// U in bf16. Where ranks are even, two neighbours of it are one access.
static const __nv_bfloat16* hidden_halves(Context& context, In u, const ThinShape& s) {
  return static_cast<const __nv_bfloat16*>(stored_as(context, u, Storage::bf16, s.N * s.hidden()));
}

void thin_gradient(Context& context, float* c, In w, In u, const ThinShape& s) {
  const bool halves = w.storage == Storage::bf16 && in_eights(s) && s.rank % 2 == 0;
  const int64_t count = ceil_div(s.N, halves ? rows_per_halves_piece : rows_per_piece);
  const int64_t size = s.hidden() * s.columns;
  float* pieces = context.take<float>(count * size);
  if (halves) {
    launch(context, thin_gradient_halves,
           blocks(ceil_div(s.columns, piece_columns), count, s.parts * ceil_div(s.rank, piece_ranks)),
           piece_warps * warp, 0, pieces, static_cast<const __nv_bfloat16*>(w.data), hidden_halves(context, u, s), s);
  } else {
    const int width = in_eights(s) ? 8 : 1;
    launch(context, width == 8 ? thin_gradient_pieces<8> : thin_gradient_pieces<1>,
           blocks(ceil_div(s.columns, warp * width), count, s.parts * ceil_div(s.rank, gradient_ranks)),
           gradient_threads, 0, pieces, w, u, s);
  }
  launch(context, thin_gradient_forward, blocks(ceil_div(size, 256)), 256, 0, c, pieces, count, s);
}

void thin_update(Context& context, Out w, In added, In u, const float* c, const ThinShape& s) {
  const bool halves = w.storage == Storage::bf16 && (added.data == nullptr || added.storage == Storage::bf16);
  const int64_t steps = ceil_div(s.rank, 16);
  if (halves && in_eights(s) && s.rank % 2 == 0 && steps <= 4) {
    using Kernel = void (*)(__nv_bfloat16*, const __nv_bfloat16*, const __nv_bfloat16*, const float*, ThinShape);
    static const Kernel kernels[] = {thin_update_halves<1, 4>, thin_update_halves<2, 2>, thin_update_halves<3, 1>,
                                     thin_update_halves<4, 1>};
    const int64_t columns = wide_warps * 32 * (steps == 1 ? 4 : steps == 2 ? 2 : 1);
    return launch(context, kernels[steps - 1],
                  blocks(ceil_div(s.columns, columns), ceil_div(s.N, int64_t{wide_rows}), s.parts), wide_warps * warp,
                  0, static_cast<__nv_bfloat16*>(w.data), static_cast<const __nv_bfloat16*>(added.data),
                  hidden_halves(context, u, s), c, s);
  }
  const int width = in_eights(s) ? 8 : 1;
  const int64_t held = update_rows * ceil_div(s.rank, update_ranks) * update_ranks;
  launch(context, width == 8 ? thin_update_forward<8> : thin_update_forward<1>,
         blocks(ceil_div(s.columns, update_threads * width), ceil_div(s.N, update_rows), s.parts), update_threads,
         static_cast<size_t>(held) * sizeof(float), w, added, u, c, s);
}

}  // namespace pipe::cuda
