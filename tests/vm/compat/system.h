/*
 * What a 32-bit program needs of a libc: a system for 64-bit programs has none
 * for it. System calls are those of i386 (arch/x86/entry/syscalls).
 */
#ifndef SYSTEM_H
#define SYSTEM_H

#include <stdarg.h>
#include <stddef.h>

enum {
	SYS_EXIT = 1,
	SYS_WRITE = 4,
	SYS_OPEN = 5,
	SYS_CLOSE = 6,
	SYS_IOCTL = 54,
	SYS_MMAP = 90,
	SYS_POLL = 168,
	SYS_CLOCK_GETTIME = 265,
};

enum { O_WRONLY = 1, O_RDWR = 2, O_CREAT = 0100, O_TRUNC = 01000,
       O_NONBLOCK = 04000 };
enum { PROT_RW = 3, MAP_SHARED = 1, MAP_ANONYMOUS = 0x22 };
enum { POLLIN = 1, POLLPRI = 2 };
enum { EINVAL = 22, ENOENT = 2, ERANGE = 34 };

struct pollfd {
	int fd;
	short events;
	short revents;
};

static long system_call(long number, long one, long two, long three)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "0"(number), "b"(one), "c"(two), "d"(three)
			 : "memory");
	return result;
}

/* gcc makes calls of these, whatever it is told. */
void *memset(void *to, int byte, size_t count)
{
	char *at = to;

	while (count--)
		*at++ = byte;
	return to;
}

void *memcpy(void *to, const void *from, size_t count)
{
	char *at = to;
	const char *of = from;

	while (count--)
		*at++ = *of++;
	return to;
}

static size_t length_of(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	return length;
}

static int same(const char *one, const char *other)
{
	while (*one && *one == *other)
		one++, other++;
	return *one == *other;
}

static void put(int fd, const char *text, size_t length)
{
	while (length) {
		long written = system_call(SYS_WRITE, fd, (long)text, length);

		if (written <= 0)
			system_call(SYS_EXIT, 2, 0, 0);
		text += written;
		length -= written;
	}
}

static void put_number(int fd, unsigned long number, int is_negative)
{
	char digits[12];
	char *at = digits + sizeof(digits);

	do {
		*--at = '0' + number % 10;
		number /= 10;
	} while (number);
	if (is_negative)
		*--at = '-';
	put(fd, at, digits + sizeof(digits) - at);
}

/* As printf(3): %s, %d and %u. */
static void vprint(int fd, const char *format, va_list args)
{
	const char *from;
	int number;

	for (from = format; *format; format++) {
		if (*format != '%')
			continue;
		put(fd, from, format - from);
		switch (*++format) {
		case 's': {
			const char *text = va_arg(args, const char *);

			put(fd, text, length_of(text));
			break;
		}
		case 'd':
			number = va_arg(args, int);
			put_number(fd, number < 0 ? -(unsigned long)number :
						(unsigned long)number,
				   number < 0);
			break;
		default:
			put_number(fd, va_arg(args, unsigned long), 0);
		}
		from = format + 1;
	}
	put(fd, from, format - from);
}

static void print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprint(1, format, args);
	va_end(args);
}

static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprint(2, format, args);
	va_end(args);
	put(2, "\n", 1);
	system_call(SYS_EXIT, 1, 0, 0);
	__builtin_unreachable();
}

static int open_file(const char *path, int flags)
{
	long fd = system_call(SYS_OPEN, (long)path, flags, 0600);

	if (fd < 0)
		fail("%s: error %d", path, -(int)fd);
	return fd;
}

/* Memory of that length; of a file, what is at the offset. */
static char *map(size_t length, int fd, unsigned long offset)
{
	long arguments[6] = { 0, length, PROT_RW,
			      fd < 0 ? MAP_ANONYMOUS : MAP_SHARED, fd, offset };
	long address = system_call(SYS_MMAP, (long)arguments, 0, 0);

	/* Addresses go up to 4 GiB; errors are the last page. */
	if ((unsigned long)address >= -4095UL)
		fail("mmap: error %d", -(int)address);
	return (char *)address;
}

/* Where the kernel begins a program: the stack has argc and argv. */
__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov (%esp), %eax\n"
	"	lea 4(%esp), %edx\n"
	"	and $-16, %esp\n"
	"	sub $8, %esp\n"
	"	push %edx\n"
	"	push %eax\n"
	"	call begin\n");

static int main(int argc, char **argv);

__attribute__((used)) static void begin(int argc, char **argv)
{
	system_call(SYS_EXIT, main(argc, argv), 0, 0);
}

#endif
