/*
 * What Linux 3.0 wants of include/linux/compiler-gccN.h, for every gcc that
 * is younger than it: what its own header for gcc 4 defines for the newest
 * compiler of the time.
 */
#ifndef __LINUX_COMPILER_H
#error "Please include <linux/compiler.h> instead."
#endif

#define __used			__attribute__((__used__))
#define __must_check		__attribute__((warn_unused_result))
#define __compiler_offsetof(a, b) __builtin_offsetof(a, b)
#define __cold			__attribute__((__cold__))
#define unreachable()		__builtin_unreachable()
#define __noclone		__attribute__((__noclone__))
#define __compiletime_object_size(obj) __builtin_object_size(obj, 0)
#ifndef __CHECKER__
#define __compiletime_warning(message) __attribute__((warning(message)))
#define __compiletime_error(message) __attribute__((error(message)))
#endif
