/*
 * What v4l2-ctl does not ask of a device.
 *
 *   ask DEVICE try ID VALUE ...   TRY_EXT_CTRLS of numbers: prints what would be
 *   ask DEVICE set ID VALUE ...   S_EXT_CTRLS: prints what is
 *   ask DEVICE last               streams to the buffer that is the last, and is
 *                                 gone without STREAMOFF
 *
 * Prints one sentence and exits with 1 where something is not as it should be.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "device.h"

#define MOST 8

static void controls(unsigned long request, int count, char **args)
{
	struct v4l2_ext_control list[MOST] = { 0 };
	struct v4l2_ext_controls all = { .controls = list };
	int i;

	if (count > 2 * MOST)
		fail("too many controls");
	for (i = 0; i + 1 < count; i += 2) {
		list[all.count].id = strtoul(args[i], NULL, 0);
		list[all.count++].value64 = strtoll(args[i + 1], NULL, 0);
	}
	if (ioctl(device, request, &all))
		fail("%s at %u of %u", strerror(errno), all.error_idx, all.count);
	for (i = 0; i < (int)all.count; i++)
		printf("%d\n", list[i].value);
}

static void last(void)
{
	struct v4l2_requestbuffers request = {
		.count = 2,
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.memory = V4L2_MEMORY_MMAP,
	};
	struct v4l2_buffer buffer = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.memory = V4L2_MEMORY_MMAP,
	};
	int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;

	must(VIDIOC_REQBUFS, &request, "REQBUFS");
	must(VIDIOC_QBUF, &buffer, "QBUF");
	buffer.index = 1;
	must(VIDIOC_QBUF, &buffer, "QBUF");
	must(VIDIOC_STREAMON, &type, "STREAMON");
	must(VIDIOC_DQBUF, &buffer, "DQBUF");
	if (!(buffer.flags & V4L2_BUF_FLAG_LAST))
		fail("the buffer is not the last: flags 0x%x", buffer.flags);
	if (!ioctl(device, VIDIOC_DQBUF, &buffer) || errno != EPIPE)
		fail("DQBUF after the last buffer: %s", strerror(errno));
}

int main(int argc, char **argv)
{
	if (argc < 3)
		fail("usage: ask DEVICE try|set|last ...");
	device = open(argv[1], O_RDWR);
	if (device < 0)
		fail("%s: %s", argv[1], strerror(errno));
	if (!strcmp(argv[2], "try"))
		controls(VIDIOC_TRY_EXT_CTRLS, argc - 3, argv + 3);
	else if (!strcmp(argv[2], "set"))
		controls(VIDIOC_S_EXT_CTRLS, argc - 3, argv + 3);
	else
		last();
	return 0;
}
