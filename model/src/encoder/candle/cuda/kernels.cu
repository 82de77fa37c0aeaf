// What an encoder computes between its matrix products, over packed sequences: no padding, one pass over memory each,
// sums in 32-bit floats. A row is a token's activations; every result depends on the row's own sequence alone.
//
// model/build.rs compiles this to PTX; `ops.rs` beside it calls the functions at the end, one set for each type.

#include <cuda_bf16.h>
#include <cstdint>

namespace {

constexpr unsigned ALL = 0xffffffffu;
// Warps of a block: `ops.rs` launches as many. A warp has a row.
constexpr int WARPS = 4;

__device__ __forceinline__ float wide(float x) { return x; }
__device__ __forceinline__ float wide(__nv_bfloat16 x) { return __bfloat162float(x); }
template <typename T> __device__ __forceinline__ T narrow(float x);
template <> __device__ __forceinline__ float narrow(float x) { return x; }
template <> __device__ __forceinline__ __nv_bfloat16 narrow(float x) { return __float2bfloat16_rn(x); }

// N values that move as one.
template <typename T, int N> struct alignas(N * sizeof(T)) Pack { T values[N]; };

template <int N, typename T> __device__ __forceinline__ void load(const T *from, float (&to)[N]) {
    const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N> *>(from);
#pragma unroll
    for (int i = 0; i < N; i++) to[i] = wide(pack.values[i]);
}

template <int N, typename T> __device__ __forceinline__ void store(const float (&from)[N], T *to) {
    Pack<T, N> pack;
#pragma unroll
    for (int i = 0; i < N; i++) pack.values[i] = narrow<T>(from[i]);
    *reinterpret_cast<Pack<T, N> *>(to) = pack;
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(ALL, x, offset);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(ALL, x, offset));
    return x;
}

// LayerNorm of a warp's row in shared memory. Lanes read what they wrote themselves.
template <typename T>
__device__ void normalize(const float *row, int hidden, const T *weight, const T *bias, float epsilon, T *out) {
    const int lane = threadIdx.x % 32;
    float sum = 0;
    for (int i = lane * 4; i < hidden; i += 128)
        for (int j = 0; j < 4; j++) sum += row[i + j];
    const float mean = warp_sum(sum) / hidden;
    float squares = 0;
    for (int i = lane * 4; i < hidden; i += 128)
        for (int j = 0; j < 4; j++) squares += (row[i + j] - mean) * (row[i + j] - mean);
    const float scale = rsqrtf(warp_sum(squares) / hidden + epsilon);
    for (int i = lane * 4; i < hidden; i += 128) {
        float x[4], w[4], b[4];
        load(weight + i, w);
        load(bias + i, b);
        for (int j = 0; j < 4; j++) x[j] = (row[i + j] - mean) * scale * w[j] + b[j];
        store(x, out + i);
    }
}

// out[row] = LayerNorm(words[id] + positions[row − start] + token_type)
template <typename T>
__device__ void embed(const uint32_t *tokens, int rows, int hidden, const T *words, const T *positions,
                      const T *token_type, const T *weight, const T *bias, float epsilon, T *out) {
    extern __shared__ float shared[];
    const int row = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    float *sums = shared + threadIdx.x / 32 * hidden;
    const T *word = words + size_t(tokens[row]) * hidden;
    const T *position = positions + size_t(row - tokens[rows + row]) * hidden;
    for (int i = lane * 4; i < hidden; i += 128) {
        float w[4], p[4], t[4];
        load(word + i, w);
        load(position + i, p);
        load(token_type + i, t);
        for (int j = 0; j < 4; j++) sums[i + j] = w[j] + p[j] + t[j];
    }
    normalize(sums, hidden, weight, bias, epsilon, out + size_t(row) * hidden);
}

// x[row] = LayerNorm(x[row] + added + residual[row])
template <typename T>
__device__ void add_norm(T *x, const T *residual, const T *added, const T *weight, const T *bias, float epsilon,
                         int rows, int hidden) {
    extern __shared__ float shared[];
    const int row = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    float *sums = shared + threadIdx.x / 32 * hidden;
    x += size_t(row) * hidden;
    residual += size_t(row) * hidden;
    for (int i = lane * 4; i < hidden; i += 128) {
        float a[4], b[4], r[4];
        load(x + i, a);
        load(added + i, b);
        load(residual + i, r);
        for (int j = 0; j < 4; j++) sums[i + j] = a[j] + b[j] + r[j];
    }
    normalize(sums, hidden, weight, bias, epsilon, x);
}

__device__ __forceinline__ float activate(float x, int activation) {
    switch (activation) {
    case 1: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case 2: return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case 3: return fmaxf(x, 0.0f);
    default: return x;
    }
}

// x[row] = activation(x[row] + bias); a thread has four columns of a row
template <typename T> __device__ void add_activate(T *x, const T *bias, int width, int activation) {
    const int column = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (column >= width) return;
    x += size_t(blockIdx.y) * width + column;
    float v[4], b[4];
    load(x, v);
    load(bias + column, b);
#pragma unroll
    for (int j = 0; j < 4; j++) v[j] = activate(v[j] + b[j], activation);
    store(v, x);
}

// Attention of one head for one token, by a warp, with softmax as the keys come (32 at a time). A lane has N of the
// head's values. Queries are scaled already. A bias of keys adds the same to all scores of a query, so it is left out,
// and one of values is added at the end, since weights sum to 1.
template <typename T, int N>
__device__ void attend(const T *qkv, const T *bias, const uint32_t *tokens, int rows, int heads, int size,
                       const float *distances, int longest, T *out) {
    const int row = blockIdx.x * WARPS + threadIdx.x / 32, head = blockIdx.y, lane = threadIdx.x % 32;
    if (row >= rows) return;
    const int start = tokens[rows + row], length = tokens[2 * rows + row], hidden = heads * size;
    const size_t stride = 3 * size_t(hidden);
    // Lanes beyond the head's size read its first values, and multiply them by 0.
    const bool own = lane * N < size;
    const int at = head * size + (own ? lane * N : 0);
    float q[N], sums[N] = {};
    load(qkv + row * stride + at, q);
    {
        float b[N];
        load(bias + at, b);
#pragma unroll
        for (int j = 0; j < N; j++) q[j] = own ? q[j] + b[j] : 0.0f;
    }
    const T *keys = qkv + start * stride + hidden + at, *values = keys + hidden;
    if (longest) distances += head * (2 * longest - 1) + longest - 1 - (row - start);
    float most = -INFINITY, total = 0;
    for (int from = 0; from < length; from += 32) {
        // Eight products at a time are summed over the lanes by halving: lane 4 · i has the i-th.
        float score = -INFINITY;
#pragma unroll
        for (int group = 0; group < 4; group++) {
            if (from + group * 8 >= length) break;
            float dots[8];
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float k[N];
                load(keys + min(from + group * 8 + i, length - 1) * stride, k);
                dots[i] = 0;
#pragma unroll
                for (int j = 0; j < N; j++) dots[i] += q[j] * k[j];
            }
#pragma unroll
            for (int half = 4; half > 0; half /= 2) {
                const bool upper = lane & (half * 4);
#pragma unroll
                for (int i = 0; i < half; i++) {
                    const float sent = upper ? dots[i] : dots[i + half], kept = upper ? dots[i + half] : dots[i];
                    dots[i] = kept + __shfl_xor_sync(ALL, sent, half * 4);
                }
            }
            dots[0] += __shfl_xor_sync(ALL, dots[0], 2);
            dots[0] += __shfl_xor_sync(ALL, dots[0], 1);
            if ((lane & 3) == group) score = dots[0];
        }
        const int key = from + (lane & 3) * 8 + lane / 4;
        if (key >= length) score = -INFINITY;
        else if (longest) score += distances[key];
        const float higher = fmaxf(most, warp_max(score)), shrunk = __expf(most - higher);
        const float weight = __expf(score - higher);
        most = higher;
        total = total * shrunk + warp_sum(weight);
#pragma unroll
        for (int j = 0; j < N; j++) sums[j] *= shrunk;
        const int here = min(32, length - from);
        for (int i = 0; i < here; i++) {
            const float w = __shfl_sync(ALL, weight, (i & 7) * 4 + i / 8);
            float v[N];
            load(values + (from + i) * stride, v);
#pragma unroll
            for (int j = 0; j < N; j++) sums[j] += w * v[j];
        }
    }
    if (!own) return;
    float b[N];
    load(bias + 2 * hidden + at, b);
#pragma unroll
    for (int j = 0; j < N; j++) sums[j] = sums[j] / total + b[j];
    store(sums, out + size_t(row) * hidden + at);
}

// c += a · b on the tensor cores: 16 × 16 by 16 × 8.
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ uint32_t packed(float low, float high) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&both);
}

__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(ALL, x, 1);
    return x + __shfl_xor_sync(ALL, x, 2);
}

__device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(ALL, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL, x, 2));
}

// The same on tensor cores, for heads of 32 · H values: a warp has 16 queries of one sequence, and goes through that
// sequence's keys from its first one, 16 at a time, whatever is beside it.
//
// Which of a head's values stands where along a product is free as long as both factors agree: a lane takes eight
// neighbours, one load, for two products of queries and keys; and in the product with values, columns are dealt so that
// a lane ends up with four neighbours.
template <int H>
__device__ void attend_tiles(const __nv_bfloat16 *qkv, const __nv_bfloat16 *bias, const uint32_t *tiles, int count,
                             int heads, const float *distances, int longest, __nv_bfloat16 *out) {
    using T = __nv_bfloat16;
    const int tile = blockIdx.x * WARPS + threadIdx.x / 32, head = blockIdx.y, lane = threadIdx.x % 32;
    if (tile >= count) return;
    const int start = tiles[tile], length = tiles[count + tile], first = tiles[2 * count + tile];
    const int hidden = heads * 32 * H, at = head * 32 * H, group = lane / 4, member = lane % 4;
    const size_t stride = 3 * size_t(hidden);
    const T *sequence = qkv + start * stride + at, *keys = sequence + hidden, *values = keys + hidden;
    const int queries[2] = {first + group, first + group + 8};

    uint32_t q[2 * H][4];
#pragma unroll
    for (int h = 0; h < H; h++) {
        float b[8];
        load(bias + at + 32 * h + 8 * member, b);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float x[8];
            load(sequence + min(queries[half], length - 1) * stride + 32 * h + 8 * member, x);
#pragma unroll
            for (int i = 0; i < 4; i++)
                q[2 * h + i / 2][i % 2 * 2 + half] = packed(x[2 * i] + b[2 * i], x[2 * i + 1] + b[2 * i + 1]);
        }
    }
    if (longest) distances += head * (2 * longest - 1) + longest - 1;
    float sums[4 * H][4] = {}, most[2] = {-INFINITY, -INFINITY}, total[2] = {};
    for (int from = 0; from < length; from += 16) {
        float scores[2][4] = {};
#pragma unroll
        for (int n = 0; n < 2; n++) {
            const T *key = keys + min(from + 8 * n + group, length - 1) * stride + 8 * member;
#pragma unroll
            for (int h = 0; h < H; h++) {
                const uint4 k = *reinterpret_cast<const uint4 *>(key + 32 * h);
                multiply(scores[n], q[2 * h], k.x, k.y);
                multiply(scores[n], q[2 * h + 1], k.z, k.w);
            }
        }
        float higher[2] = {most[0], most[1]};
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int key = from + 8 * n + 2 * member + i % 2;
                float &score = scores[n][i];
                if (key >= length) score = -INFINITY;
                else if (longest) score += distances[key - min(queries[i / 2], length - 1)];
                higher[i / 2] = fmaxf(higher[i / 2], score);
            }
        float shrunk[2], added[2] = {};
#pragma unroll
        for (int half = 0; half < 2; half++) {
            higher[half] = quad_max(higher[half]);
            shrunk[half] = __expf(most[half] - higher[half]);
            most[half] = higher[half];
        }
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                scores[n][i] = __expf(scores[n][i] - most[i / 2]);
                added[i / 2] += scores[n][i];
            }
#pragma unroll
        for (int half = 0; half < 2; half++) total[half] = total[half] * shrunk[half] + quad_sum(added[half]);
        const uint32_t weights[4] = {packed(scores[0][0], scores[0][1]), packed(scores[0][2], scores[0][3]),
                                     packed(scores[1][0], scores[1][1]), packed(scores[1][2], scores[1][3])};
#pragma unroll
        for (int j = 0; j < 2 * H; j++) {
            // Two values of each of a lane's four keys.
            uint32_t v[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int key = min(from + 2 * member + i % 2 + i / 2 * 8, length - 1);
                v[i] = *reinterpret_cast<const uint32_t *>(values + key * stride + 16 * j + 2 * group);
            }
            float(&low)[4] = sums[2 * j], (&high)[4] = sums[2 * j + 1];
#pragma unroll
            for (int i = 0; i < 4; i++) low[i] *= shrunk[i / 2], high[i] *= shrunk[i / 2];
            multiply(low, weights, __byte_perm(v[0], v[1], 0x5410), __byte_perm(v[2], v[3], 0x5410));
            multiply(high, weights, __byte_perm(v[0], v[1], 0x7632), __byte_perm(v[2], v[3], 0x7632));
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        if (queries[half] >= length) continue;
        T *row = out + size_t(start + queries[half]) * hidden + at;
#pragma unroll
        for (int j = 0; j < 2 * H; j++) {
            const int here = 16 * j + 4 * member;
            float x[4] = {sums[2 * j][2 * half], sums[2 * j + 1][2 * half], sums[2 * j][2 * half + 1],
                          sums[2 * j + 1][2 * half + 1]};
            float b[4];
            load(bias + 2 * hidden + at + here, b);
#pragma unroll
            for (int i = 0; i < 4; i++) x[i] = x[i] / total[half] + b[i];
            store(x, row + here);
        }
    }
}

// A block has a sequence: the mean of its rows or the first of them, scaled to length 1.
template <typename T>
__device__ void pool(const T *x, const uint32_t *tokens, int rows, int sequences, int hidden, int first_only, float *out) {
    extern __shared__ float shared[];
    __shared__ float squares[32];
    const uint32_t *of_sequences = tokens + 3 * size_t(rows);
    const int start = of_sequences[blockIdx.x];
    const int length = first_only ? 1 : of_sequences[sequences + blockIdx.x];
    x += size_t(start) * hidden;
    float sum = 0;
    for (int i = threadIdx.x; i < hidden; i += blockDim.x) {
        float mean = 0;
        for (int row = 0; row < length; row++) mean += wide(x[size_t(row) * hidden + i]);
        mean /= length;
        shared[i] = mean;
        sum += mean * mean;
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) squares[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = 0;
    for (int i = 0; i < blockDim.x / 32; i++) sum += squares[i];
    const float norm = fmaxf(sqrtf(sum), 1e-12f);
    for (int i = threadIdx.x; i < hidden; i += blockDim.x) out[size_t(blockIdx.x) * hidden + i] = shared[i] / norm;
}

} // namespace

#define ATTEND(NAME, T, N)                                                                                             \
    extern "C" __global__ void __launch_bounds__(128)                                                                  \
        attend_##NAME##_##N(const T *qkv, const T *bias, const uint32_t *tokens, int rows, int heads, int size,        \
                            const float *distances, int longest, T *out) {                                             \
        attend<T, N>(qkv, bias, tokens, rows, heads, size, distances, longest, out);                                   \
    }

#define KERNELS(NAME, T)                                                                                               \
    extern "C" __global__ void __launch_bounds__(128)                                                                  \
        embed_##NAME(const uint32_t *tokens, int rows, int hidden, const T *words, const T *positions,                 \
                     const T *token_type, const T *weight, const T *bias, float epsilon, T *out) {                     \
        embed(tokens, rows, hidden, words, positions, token_type, weight, bias, epsilon, out);                         \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128)                                                                  \
        add_norm_##NAME(T *x, const T *residual, const T *added, const T *weight, const T *bias, float epsilon,        \
                        int rows, int hidden) {                                                                        \
        add_norm(x, residual, added, weight, bias, epsilon, rows, hidden);                                             \
    }                                                                                                                  \
    extern "C" __global__ void add_activate_##NAME(T *x, const T *bias, int width, int activation) {                   \
        add_activate(x, bias, width, activation);                                                                      \
    }                                                                                                                  \
    extern "C" __global__ void pool_##NAME(const T *x, const uint32_t *tokens, int rows, int sequences, int hidden,    \
                                           int first_only, float *out) {                                               \
        pool(x, tokens, rows, sequences, hidden, first_only, out);                                                     \
    }                                                                                                                  \
    ATTEND(NAME, T, 1)                                                                                                 \
    ATTEND(NAME, T, 2)                                                                                                 \
    ATTEND(NAME, T, 4)                                                                                                 \
    ATTEND(NAME, T, 8)

#define ATTEND_TILES(H)                                                                                                \
    extern "C" __global__ void __launch_bounds__(128)                                                                  \
        attend_tiles_##H(const __nv_bfloat16 *qkv, const __nv_bfloat16 *bias, const uint32_t *tiles, int count,        \
                         int heads, const float *distances, int longest, __nv_bfloat16 *out) {                         \
        attend_tiles<H>(qkv, bias, tiles, count, heads, distances, longest, out);                                      \
    }

KERNELS(f32, float)
KERNELS(bf16, __nv_bfloat16)
ATTEND_TILES(1)
ATTEND_TILES(2)
ATTEND_TILES(3)
ATTEND_TILES(4)
