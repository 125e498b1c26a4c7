/*
 * What an application may do with a buffer between two good QBUFs: queue it so
 * that the kernel refuses it, which takes its memory away from it.
 *
 *   requeue DEVICE leak COUNT   buffers that are refused and then freed
 *   requeue DEVICE stale        another memory for a buffer that was refused
 *   requeue DEVICE claim        memory that is shorter than is claimed
 *
 * Prints one sentence and exits with 1 where something is not as it should be.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "device.h"

#define HUGE_PAGE (2UL << 20)

static void reqbufs(unsigned int count)
{
	struct v4l2_requestbuffers request = {
		.count = count,
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.memory = V4L2_MEMORY_USERPTR,
	};

	must(VIDIOC_REQBUFS, &request, "REQBUFS");
}

static int qbuf(void *memory, size_t length)
{
	struct v4l2_buffer buffer = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.memory = V4L2_MEMORY_USERPTR,
		.m.userptr = (unsigned long)memory,
		.length = length,
	};

	return ioctl(device, VIDIOC_QBUF, &buffer) ? errno : 0;
}

static void stream(unsigned long request)
{
	int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;

	must(request, &type, request == VIDIOC_STREAMON ? "STREAMON" : "STREAMOFF");
}

/* A buffer that was queued, taken back, and refused. */
static void refuse(void *memory, size_t length)
{
	int error = qbuf(memory, length);

	if (error)
		fail("QBUF: %s", strerror(error));
	stream(VIDIOC_STREAMOFF);
	error = qbuf(memory, 1);
	if (error != EINVAL)
		fail("QBUF of one byte: %s", strerror(error));
}

/* The buffer's frame comes, and whole. */
static void capture(size_t sizeimage)
{
	struct v4l2_buffer buffer = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.memory = V4L2_MEMORY_USERPTR,
	};
	struct pollfd ready = { .fd = device, .events = POLLIN };

	stream(VIDIOC_STREAMON);
	if (poll(&ready, 1, 60000) != 1)
		fail("no frame came");
	must(VIDIOC_DQBUF, &buffer, "DQBUF");
	if (buffer.flags & V4L2_BUF_FLAG_ERROR)
		fail("the frame is in error");
	if (buffer.bytesused != sizeimage)
		fail("the frame has %u bytes of %zu", buffer.bytesused, sizeimage);
	stream(VIDIOC_STREAMOFF);
}

static char *map(int flags)
{
	char *memory = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (memory == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	return memory;
}

int main(int argc, char **argv)
{
	struct v4l2_format format = { .type = V4L2_BUF_TYPE_VIDEO_CAPTURE };
	size_t sizeimage;
	char *memory;
	int left;

	if (argc < 3)
		fail("usage: requeue DEVICE leak COUNT | stale | claim");
	device = open(argv[1], O_RDWR);
	if (device < 0)
		fail("%s: %s", argv[1], strerror(errno));
	must(VIDIOC_G_FMT, &format, "G_FMT");
	format.fmt.pix.width = 1280;
	format.fmt.pix.height = 720;
	format.fmt.pix.pixelformat = V4L2_PIX_FMT_YUYV;
	must(VIDIOC_S_FMT, &format, "S_FMT");
	sizeimage = format.fmt.pix.sizeimage;

	if (!strcmp(argv[2], "stale")) {
		/* In one piece, so that any length is one scatter entry. */
		memory = map(MAP_HUGETLB);
		reqbufs(1);
		refuse(memory, HUGE_PAGE);
		if ((left = qbuf(memory + 4096, sizeimage)))
			fail("QBUF: %s", strerror(left));
		capture(sizeimage);
		return 0;
	}
	if (!strcmp(argv[2], "claim")) {
		/* Room for a frame, and nothing behind it. */
		memory = map(0);
		if (mprotect(memory + sizeimage, HUGE_PAGE - sizeimage,
			     PROT_NONE))
			fail("mprotect: %s", strerror(errno));
		reqbufs(1);
		if ((left = qbuf(memory, 1 << 30)))
			fail("QBUF: %s", strerror(left));
		capture(sizeimage);
		return 0;
	}
	/* In many, for a command worth losing. */
	memory = map(0);
	madvise(memory, HUGE_PAGE, MADV_NOHUGEPAGE);
	for (left = argc > 3 ? atoi(argv[3]) : 0; left; left--) {
		reqbufs(1);
		refuse(memory, sizeimage);
		reqbufs(0);
	}
	return 0;
}
