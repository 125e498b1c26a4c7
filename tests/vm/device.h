/* What the programs that try a device have in common. */
#ifndef DEVICE_H
#define DEVICE_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static int device;

static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static void must(unsigned long request, void *argument, const char *name)
{
	if (ioctl(device, request, argument))
		fail("%s: %s", name, strerror(errno));
}

#endif
