"""The packed product: five loops around the register tile (csrc/kernels/tile.c), after Goto and van de
Geijn, "Anatomy of high-performance matrix multiplication" (2008), with the paths for small and narrow
shapes that need no packing. Called by the compiled face fastconv/products.pyx; macro_kernel also by
im2col.pyx, product_here by linear.pyx.

    for jc in n by NC            a block of B, KC x NC, is packed in strips of NR columns: L3, by all threads
      for pc in k by KC          a strip, KC x NR, stays in L1 while the rows of a block of A pass it
        for ic in m by MC        a block of A, MC x KC, is copied to rows that do not collide in L1: L2
          for jr in NC by NR
            for ir in MC by MR   the tile

Start reading at packed. Threads share the packed block of B and take blocks of rows, and of columns where
rows are few: rectangles of C, cut by shape alone, as the sum over k of a few rows is (rows_times_matrix), so any
number of threads gives the same bits."""
from fastconv._loops.cut cimport LINE, STRIP_GAP, balanced, ceil_div, least, round_up, span_start
from fastconv._loops.kernels cimport FC_PRODUCT, fc_kernels, fc_store, fc_store_of, kernels_for
from fastconv._loops.platform cimport fc_flush_subnormals, fc_fp_state, fc_restore_fp
from fastconv._loops.row_sums cimport add_rows
from fastconv._loops.scratch cimport Block, borrow, give_back
from fastconv._loops.team cimport Operands, flushing, run
from fastconv._loops.tiles cimport Heights, fetchers, height_of, heights_of, tile_of

# KC: C is read and written once per KC, and with C in L3 that is what costs: on Zen 4 a 1024-cubed product
# ran at 86, 102 and 108 of 118 GF/s with KC 256, 512 and 1024. A strip, 1024 x 32 floats, is 128 KB and
# streams from L2. MC: MC x KC floats are 224 KB of 1 MB of L2, and leave room for two strips. NC: KC x NC
# floats are 8 MB of L3, fetched ahead of use by the tile. (2026-11, benchmarks/sweep_blocks.py.)
cdef enum:
    KC = 1024
    NC = 2048
    MC = 56

# Below these many rows (in tiles) or columns (in strips) a block is read in place: it would be used too
# few times to pay for a copy.
cdef enum:
    PACK_B_TILES = 4
    PACK_B_BYTES = 128 << 10     # what a strip leaves of L2 anyway
    PACK_A_STRIPS = 4
    PACK_A_DEPTH = 64
    DOT_ROWS = 8
    LEAST_CHUNKS = 4     # columns are cut as well where there are fewer blocks of rows

cdef struct Gemm:
    const fc_kernels *kernels
    Py_ssize_t m, n, k
    double alpha, beta
    const char *a
    Py_ssize_t a_row, a_col
    const char *b
    Py_ssize_t b_row, b_col
    char *c
    Py_ssize_t c_row
    Blocks blocks
    bint pack_a, pack_b
    Py_ssize_t row_parts, col_parts
    # The current block of the two outer loops.
    Py_ssize_t jc, nc, pc, kc, strip_bytes
    char *b_pack


cdef Blocks default_blocks(const fc_kernels *kernels) noexcept nogil:
    # The block sizes above are in floats; doubles get half as many columns, so the same bytes.
    cdef Blocks blocks
    blocks.mc = round_up(MC, kernels.MR)
    blocks.nc = NC * 4 // kernels.itemsize
    blocks.kc = KC
    return blocks


cdef Blocks rounded(const Blocks *wanted, const fc_kernels *kernels) noexcept nogil:
    cdef Blocks blocks
    blocks.mc = round_up(wanted.mc, kernels.MR)
    blocks.nc = round_up(wanted.nc, kernels.NR)
    blocks.kc = wanted.kc
    return blocks


cdef void macro_kernel(const fc_kernels *kernels, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                       const char *a, Py_ssize_t a_row, Py_ssize_t a_col,          # IN
                       const char *b, Py_ssize_t b_row, Py_ssize_t b_strip,        # IN, strips of NR
                       char *c, Py_ssize_t c_row, const fc_store *store) noexcept nogil:
    """c = act(alpha * (bias + a @ b) + beta * c) for one block: the loops over jr and ir."""
    cdef Py_ssize_t jr, ir, rows, cols, i, sharing, ahead_row, size = kernels.itemsize
    cdef Heights heights
    cdef const char *strip
    cdef fc_store s = store[0]
    for jr from 0 <= jr < n by kernels.NR:
        cols = least(kernels.NR, n - jr)
        if jr == 0 or cols <= kernels.lanes:
            heights = heights_of(kernels, m, cols)
            # Rows of B in place are not one run, of which each tile could fetch a part.
            sharing = fetchers(heights.count) if b_row == kernels.NR * size else 1
            ahead_row = b_row // sharing
        strip = b + jr // kernels.NR * b_strip
        if store.col_bias != NULL:
            s.col_bias = <const char *>store.col_bias + jr * size
        ir = 0
        for i in range(heights.count):
            rows = height_of(&heights, i)
            if store.row_bias != NULL:
                s.row_bias = <const char *>store.row_bias + ir * size
            tile_of(kernels, FC_PRODUCT, rows, cols)(
                1, NULL, k, a + ir * a_row, a_row, a_col, strip, b_row,
                strip + b_strip + (i & sharing - 1) * k * ahead_row, ahead_row,
                c + ir * c_row + jr * size, c_row, cols, &s)
            ir += rows
    # end: for jr, for ir


# A chunk's own product packs a block of B of so many items at a time, 256 KB of floats, half of Zen 3's L2, long in the
# direction in which B is contiguous: reading it in runs of a KB took twice the time (2026-11).
cdef enum:
    LONG = 1024
    SHORT = 64

cdef size_t product_bytes(const fc_kernels *kernels) noexcept nogil:
    """Scratch of product_here."""
    cdef Py_ssize_t block = LONG * SHORT * kernels.itemsize + LONG // kernels.NR * STRIP_GAP
    return block + MC * (LONG * kernels.itemsize + LINE)


cdef void product_here(const fc_kernels *kernels, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                       const char *a, Py_ssize_t a_row, Py_ssize_t a_col,                # IN
                       const char *b, Py_ssize_t b_row, Py_ssize_t b_col, double beta,   # IN
                       char *c, Py_ssize_t c_row, char *scratch) noexcept nogil:
    """c = a @ b + beta * c on this thread: the packed product's loops for chunks that are products themselves."""
    cdef Py_ssize_t size = kernels.itemsize, NR = kernels.NR
    cdef Py_ssize_t kc = SHORT if b_col == size else LONG, nc = LONG if b_col == size else SHORT
    cdef Py_ssize_t jc, pc, ic, rows, cols, depth, strip, a_pitch
    cdef char *a_pack = scratch + LONG * SHORT * size + LONG // NR * STRIP_GAP
    cdef fc_store store
    for jc from 0 <= jc < n by nc:
        cols = least(nc, n - jc)
        for pc from 0 <= pc < k by kc:
            depth = least(kc, k - pc)
            strip, a_pitch = depth * NR * size + STRIP_GAP, depth * size + LINE
            store = fc_store_of(1, beta if pc == 0 else 1, 0)
            kernels.pack(depth, cols, b + pc * b_row + jc * b_col, b_row, b_col, scratch, NR * size, NR, strip)
            for ic from 0 <= ic < m by MC:
                rows = least(MC, m - ic)
                kernels.pack(rows, depth, a + ic * a_row + pc * a_col, a_row, a_col, a_pack, a_pitch, depth, 0)
                macro_kernel(kernels, rows, cols, depth, a_pack, a_pitch, size, scratch, NR * size, strip,
                             c + ic * c_row + jc * size, c_row, &store)


cdef enum:
    PACK_ROWS = 32       # rows of B that a chunk packs

cdef void pack_b_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Gemm *g = <const Gemm *>problem
    cdef const fc_kernels *kernels = g.kernels
    cdef Py_ssize_t size = kernels.itemsize, NR = kernels.NR, row = index * PACK_ROWS
    cdef Py_ssize_t first = whole_columns(g)
    kernels.pack(least(PACK_ROWS, g.kc - row), g.nc - first,
                 g.b + (g.pc + row) * g.b_row + (g.jc + first) * g.b_col, g.b_row, g.b_col,
                 g.b_pack + row * NR * size, NR * size, NR, g.strip_bytes)


cdef inline Py_ssize_t whole_columns(const Gemm *g) noexcept nogil:
    """The columns of a block of B that can be read in place: the others fill no vector, and are packed."""
    return 0 if g.pack_b else g.nc // g.kernels.lanes * g.kernels.lanes


cdef void packed_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """One block of rows of C, all columns of the block of B or a part of them."""
    cdef const Gemm *g = <const Gemm *>problem
    cdef const fc_kernels *kernels = g.kernels
    cdef Py_ssize_t size = kernels.itemsize, NR = kernels.NR, k = g.kc
    cdef Py_ssize_t ic = span_start(g.m, g.row_parts, 1, index // g.col_parts)
    cdef Py_ssize_t m = span_start(g.m, g.row_parts, 1, index // g.col_parts + 1) - ic
    cdef Py_ssize_t j0 = span_start(g.nc, g.col_parts, NR, index % g.col_parts)
    cdef Py_ssize_t j1 = span_start(g.nc, g.col_parts, NR, index % g.col_parts + 1)
    cdef Py_ssize_t whole = whole_columns(g), a_row = g.a_row, a_col = g.a_col
    cdef const char *a = g.a + ic * g.a_row + g.pc * g.a_col
    cdef char *c = g.c + ic * g.c_row + g.jc * size
    cdef fc_store store = fc_store_of(g.alpha, g.beta if g.pc == 0 else 1, 0)
    if g.pack_a and a_row == size:
        kernels.pack(k, m, a, a_col, a_row, scratch, m * size + LINE, m, 0)
        a, a_row, a_col = scratch, size, m * size + LINE
    elif g.pack_a:
        kernels.pack(m, k, a, a_row, a_col, scratch, k * size + LINE, k, 0)
        a, a_row, a_col = scratch, k * size + LINE, size
    if j0 < whole:
        macro_kernel(kernels, m, least(whole, j1) - j0, k, a, a_row, a_col,
                     g.b + g.pc * g.b_row + (g.jc + j0) * size, g.b_row, NR * size,
                     c + j0 * size, g.c_row, &store)
    if j1 > whole:
        j0 = max(j0, whole)
        macro_kernel(kernels, m, j1 - j0, k, a, a_row, a_col, g.b_pack + (j0 - whole) // NR * g.strip_bytes,
                     NR * size, g.strip_bytes, c + j0 * size, g.c_row, &store)


cdef int packed(Gemm *g, int team) except -1:
    """The two outer loops: pack a block of B together, then multiply it with all of A."""
    cdef const fc_kernels *kernels = g.kernels
    cdef Py_ssize_t NR = kernels.NR, size = kernels.itemsize
    cdef Py_ssize_t kc = balanced(g.k, g.blocks.kc), nc = ceil_div(balanced(g.n, g.blocks.nc), NR) * NR
    cdef Py_ssize_t jc, pc, mc, a_bytes = 0, strips = nc // NR if g.pack_b else 1
    cdef Block b_block
    # A multiple of 4 blocks of rows, which 2 and 4 threads share evenly.
    g.row_parts = ceil_div(g.m, g.blocks.mc)
    if g.row_parts > 1:
        g.row_parts = round_up(g.row_parts, LEAST_CHUNKS)
    mc = ceil_div(g.m, g.row_parts)
    if g.pack_a:
        a_bytes = max(mc * (kc * size + LINE), kc * (mc * size + LINE))
    b_block = borrow(strips * (kc * NR * size + STRIP_GAP))
    g.b_pack = b_block.data
    for jc from 0 <= jc < g.n by nc:
        g.jc, g.nc = jc, least(nc, g.n - jc)
        g.col_parts = 1
        if g.row_parts < LEAST_CHUNKS:
            g.col_parts = max(1, min(LEAST_CHUNKS // g.row_parts, g.nc // (2 * NR)))
        for pc from 0 <= pc < g.k by kc:
            g.pc, g.kc = pc, least(kc, g.k - pc)
            g.strip_bytes = g.kc * NR * size + STRIP_GAP
            if whole_columns(g) < g.nc:
                run(pack_b_chunk, g, ceil_div(g.kc, PACK_ROWS), 0, team)
            run(packed_chunk, g, g.row_parts * g.col_parts, a_bytes, team)
    # end: for jc, for pc
    give_back(b_block)
    return 0


# The product of a few rows with a matrix as it lies: whole rows of B, read from one end to the other, are what the
# prefetchers like best (27 of 30 GB/s; 22 in pieces of 2048 columns), so k is cut, by shape alone, and the partial
# sums are added in order. Rows too long for L1 are cut as well, and others where a short k leaves fewer than
# LEAST_CHUNKS pieces. Some rows of B at a time stay in L2 while every row of A meets them.
cdef enum:
    ROW_COLUMNS = 8192
    ROW_PARTS = 8
    LEAST_DEPTH = 256
    LEAST_WIDTH = 1024
    ROWS_IN_L2 = 16
    FEW_ROWS = 3             # of a tile make too few sums to hide an FMA: 2x1024x1024 12 and 29 GF/s (Zen 3, 2026-11)
    BEYOND_L2 = 2 << 20      # where B comes from further away, up to eight rows of A go this way too: 15 and 34 for 4

cdef bint by_whole_rows(Py_ssize_t m, Py_ssize_t b_bytes) noexcept nogil:
    """Whether so many rows of A meet B like this, B being read where it lies."""
    return m <= FEW_ROWS or (m <= DOT_ROWS and b_bytes > BEYOND_L2)


cdef void axpy_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """One part of k, one piece of the rows: into C itself if k is whole, else into its own partial rows."""
    cdef const Gemm *g = <const Gemm *>problem
    cdef Py_ssize_t size = g.kernels.itemsize, part = index // g.col_parts
    cdef Py_ssize_t j0 = span_start(g.n, g.col_parts, g.kernels.NR, index % g.col_parts)
    cdef Py_ssize_t n = span_start(g.n, g.col_parts, g.kernels.NR, index % g.col_parts + 1) - j0
    cdef Py_ssize_t k0 = span_start(g.k, g.row_parts, 1, part), k1 = span_start(g.k, g.row_parts, 1, part + 1)
    cdef Py_ssize_t i, block, end, pc, c_row = g.c_row if g.row_parts == 1 else g.n * size
    cdef Py_ssize_t sum_row = c_row if k1 - k0 <= KC else n * size
    cdef char *c = (g.c if g.row_parts == 1 else g.b_pack + part * g.m * c_row) + j0 * size
    cdef char *sum = c if k1 - k0 <= KC else scratch    # of KC rows at most
    if g.row_parts > 1 or g.beta != 1:
        for i in range(g.m):
            g.kernels.scale(n, 0 if g.row_parts > 1 else g.beta, c + i * c_row)
    for block from k0 <= block < k1 by KC:
        end = least(block + KC, k1)
        if sum != c:
            g.kernels.scale(g.m * n, 0, sum)
        for pc from block <= pc < end by ROWS_IN_L2:
            for i in range(g.m):
                g.kernels.axpy(least(ROWS_IN_L2, end - pc), n, g.alpha, g.a + i * g.a_row + pc * g.a_col, g.a_col,
                               g.b + pc * g.b_row + j0 * size, g.b_row, sum + i * sum_row)
        if sum != c:
            for i in range(g.m):
                add_rows(g.kernels, 1, n, 1, sum + i * sum_row, 0, c + i * c_row)


cdef int rows_times_matrix(Gemm *g, int team) except -1:
    cdef Block partials = None
    cdef fc_fp_state state
    cdef Py_ssize_t i, most_columns, row_bytes = g.n * g.kernels.itemsize
    g.col_parts = ceil_div(g.n, ROW_COLUMNS)
    g.row_parts = max(1, min(ROW_PARTS // g.col_parts, g.k // LEAST_DEPTH))
    g.col_parts = max(g.col_parts, min(ceil_div(LEAST_CHUNKS, g.row_parts), g.n // LEAST_WIDTH))
    if g.row_parts > 1:
        partials = borrow(g.row_parts * g.m * row_bytes)
        g.b_pack = partials.data
    most_columns = ceil_div(ceil_div(g.n, g.kernels.NR), g.col_parts) * g.kernels.NR
    run(axpy_chunk, g, g.row_parts * g.col_parts,
        g.m * most_columns * g.kernels.itemsize if ceil_div(g.k, g.row_parts) > KC else 0, team)
    if g.row_parts > 1:
        state = fc_flush_subnormals(flushing())
        for i in range(g.m):
            if g.beta != 1:
                g.kernels.scale(g.n, g.beta, g.c + i * g.c_row)
            add_rows(g.kernels, g.row_parts, g.n, 1, g.b_pack + i * row_bytes, g.m * row_bytes, g.c + i * g.c_row)
        fc_restore_fp(state)
        give_back(partials)
    return 0


cdef void dot_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """A few rows of C, some columns, B transposed: its columns are contiguous and read once."""
    cdef const Gemm *g = <const Gemm *>problem
    cdef Py_ssize_t size = g.kernels.itemsize
    cdef Py_ssize_t j0 = span_start(g.n, g.col_parts, 4, index)
    cdef Py_ssize_t j1 = span_start(g.n, g.col_parts, 4, index + 1)
    cdef Py_ssize_t pc, k
    cdef fc_store store
    for pc from 0 <= pc < g.k by g.blocks.kc:
        k = least(g.blocks.kc, g.k - pc)
        store = fc_store_of(g.alpha, g.beta if pc == 0 else 1, 0)
        g.kernels.dot(g.m, j1 - j0, 1, NULL, NULL, k, g.a + pc * size, g.a_row, g.b + pc * size + j0 * g.b_col, g.b_col,
                      g.c + j0 * size, g.c_row, &store)


cdef int gemm(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, double alpha,
              const char *a, Py_ssize_t a_row, Py_ssize_t a_col,                   # IN
              const char *b, Py_ssize_t b_row, Py_ssize_t b_col, double beta,      # IN
              char *c, Py_ssize_t c_row,                                           # IN/OUT, rows contiguous
              Py_ssize_t itemsize, const Blocks *wanted, int team) except -1:
    """Chooses the path by shape and strides, never by the team. beta == 0 never reads c; m, n >= 1;
    k == 0 or alpha == 0 only scales c. `wanted` (or NULL) are the user's block sizes."""
    cdef Gemm g
    cdef const fc_kernels *kernels = kernels_for(itemsize)
    cdef fc_fp_state state
    cdef Py_ssize_t i
    if k == 0 or alpha == 0:
        state = fc_flush_subnormals(flushing())
        if beta != 1:
            for i in range(m):
                kernels.scale(n, beta, c + i * c_row)
        fc_restore_fp(state)
        return 0
    if n == 1 and m > 1 and c_row == itemsize:
        # A column of results is the row of the transposed product.
        return gemm(1, m, k, alpha, b, b_col, b_row, a, a_col, a_row, beta, c, m * itemsize, itemsize,
                    wanted, team)
    g.kernels, g.m, g.n, g.k, g.alpha, g.beta = kernels, m, n, k, alpha, beta
    g.a, g.a_row, g.a_col, g.b, g.b_row, g.b_col, g.c, g.c_row = a, a_row, a_col, b, b_row, b_col, c, c_row
    if wanted == NULL:
        g.blocks = default_blocks(kernels)
        if m <= DOT_ROWS and b_row == itemsize and a_col == itemsize and k > 1:
            # Up to four rows read B once; more read it again, from L2 if k is cut. A lane adds KC products at most.
            g.blocks.kc = KC * (kernels.lanes if m <= 4 else 2)
            g.col_parts = max(1, min(n // 4, 16, <Py_ssize_t>(n * k / 1e5)))
            return run(dot_chunk, &g, g.col_parts, 0, team)
        if b_col == itemsize and by_whole_rows(m, n * k * itemsize):
            return rows_times_matrix(&g, team)
        g.pack_b = b_col != itemsize or (m > PACK_B_TILES * kernels.MR and (
            n * k * itemsize > PACK_B_BYTES or b_row % 4096 == 0))
        g.pack_a = n >= PACK_A_STRIPS * kernels.NR and m > kernels.MR and k >= PACK_A_DEPTH
    else:
        g.blocks = rounded(wanted, kernels)
        g.pack_a = g.pack_b = True
    return packed(&g, team)
