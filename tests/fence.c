/* Preloaded into a process (LD_PRELOAD), it puts a page that may not be touched behind every block of
 * posix_memalign: the scratch of fastconv's nests. Compiled and used by tests/test_guard_pages.py.
 *
 * Blocks come from one reserved region, one behind the other, and addresses are never used again:
 *
 *     | length, a page | ... the block | forbidden |                                                      */
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#define PAGE ((size_t)4096)
#define REGION ((size_t)1 << 36)
static char *region;

__attribute__((constructor)) static void reserve(void) {
    region = mmap(0, REGION, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

int posix_memalign(void **block, size_t alignment, size_t size) {
    static size_t taken;
    (void)alignment;
    const size_t aligned = (size + 15) / 16 * 16, length = PAGE + (aligned + PAGE - 1) / PAGE * PAGE;
    char *start = region + __atomic_fetch_add(&taken, length + PAGE, __ATOMIC_RELAXED);
    if (region == MAP_FAILED || mprotect(start, length, PROT_READ | PROT_WRITE)) return ENOMEM;
    *(size_t *)start = length;
    *block = start + length - aligned;
    return 0;
}

void free(void *block) {
    extern void __libc_free(void *);
    if ((uintptr_t)block - (uintptr_t)region >= REGION) {
        __libc_free(block);
        return;
    }
    char *start = (char *)((uintptr_t)block / PAGE * PAGE - PAGE);
    /* Reserved again: in a hole, other memory could come to lie, and its end would be taken for one of ours. */
    mmap(start, *(size_t *)start, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}
