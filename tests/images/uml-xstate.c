/* Lets linux.uml run on a processor with AMX, preloaded into it.
 *
 * A process' extended state (registers beyond the general ones) is set as a whole or not at all. linux.uml 6.1 carries
 * 2,696 bytes of it, everything up to AVX-512 and protection keys; with AMX the whole is 11,008 bytes, this machine's
 * kernel refuses the part, and linux.uml kills each process at its first instruction, init included. Here the part is
 * completed with the initial state of what follows it: a guest never has AMX, since nobody asks for it on its behalf.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

/* The header declares ptrace with a variable list of arguments, which would have to be taken apart by request. */
long ptrace(enum __ptrace_request request, ...) __attribute__((alias("ptrace_with_whole_state")));

long ptrace_with_whole_state(enum __ptrace_request request, pid_t pid, void *address, void *data) {
  static long (*libc_ptrace)(enum __ptrace_request, pid_t, void *, void *);
  static char state[65536];
  static size_t size;
  struct iovec whole = {state, sizeof state};
  const struct iovec *part = data;

  if (libc_ptrace == NULL)
    libc_ptrace = (typeof(libc_ptrace))dlsym(RTLD_NEXT, "ptrace");
  if (request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE)
    return libc_ptrace(request, pid, address, data);
  if (size == 0) {
    if (libc_ptrace(PTRACE_GETREGSET, pid, address, &whole) < 0)
      return -1;
    size = whole.iov_len;
    memset(state, 0, size);
  }
  if (part->iov_len >= size)
    return libc_ptrace(request, pid, address, data);
  memcpy(state, part->iov_base, part->iov_len);
  whole.iov_len = size;
  return libc_ptrace(request, pid, address, &whole);
}
