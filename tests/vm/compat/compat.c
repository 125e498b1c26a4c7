/*
 * A 32-bit program on a 64-bit kernel: structures with pointers, 64-bit numbers
 * and times are laid out otherwise than the kernel's own, and the kernel's
 * compat code carries them over.
 *
 *   compat DEVICE ask           what the device says of itself; controls, events
 *   compat DEVICE user FILE     captures into user memory, some frames to FILE
 *   compat DEVICE mmap FILE     the same into buffers of the driver's
 *
 * Prints what is for the caller to judge, a line each; prints one sentence and
 * exits with 1 where something is not as it should be.
 */
#include <linux/videodev2.h>

#include "system.h"

#define BUFFERS 3
#define FRAMES 6
#define WIDTH 324
#define HEIGHT 242
/* Nothing is aligned to it but what has to be. */
#define OFFSET 2056
#define PATIENCE_MS 60000

static int device;
static int is_multi;
static unsigned int type;

static int call(int fd, unsigned long request, void *argument)
{
	return -system_call(SYS_IOCTL, fd, request, (long)argument);
}

static void must(unsigned long request, void *argument, const char *name)
{
	int error = call(device, request, argument);

	if (error)
		fail("%s: error %d", name, error);
}

static void equal(const char *what, unsigned long is, unsigned long should_be)
{
	if (is != should_be)
		fail("%s is %u, not %u", what, is, should_be);
}

static void wait_for(short events)
{
	struct pollfd ready = { .fd = device, .events = events };

	if (system_call(SYS_POLL, (long)&ready, 1, PATIENCE_MS) != 1)
		fail("nothing comes");
}

/* Seconds since the system was booted. */
static long uptime(void)
{
	long now[2];

	system_call(SYS_CLOCK_GETTIME, 1, (long)now, 0);
	return now[0];
}

static void just_now(const char *what, long long seconds, long long fraction,
		     long long most)
{
	long now = uptime();

	if (seconds > now || seconds < now - 60 || fraction < 0 ||
	    fraction >= most)
		fail("%s is of %d s, %d behind them, and it is %d s", what,
		     (int)seconds, (int)fraction, (int)now);
}

static unsigned int format_of_test(void)
{
	return is_multi ? V4L2_PIX_FMT_NV12M : V4L2_PIX_FMT_YUYV;
}

static void ask_capabilities(void)
{
	struct v4l2_capability is = { 0 };

	must(VIDIOC_QUERYCAP, &is, "QUERYCAP");
	is_multi = !!(is.device_caps & V4L2_CAP_VIDEO_CAPTURE_MPLANE);
	type = is_multi ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE :
			  V4L2_BUF_TYPE_VIDEO_CAPTURE;
	if (!is_multi && !(is.device_caps & V4L2_CAP_VIDEO_CAPTURE))
		fail("it captures nothing");
	if (!(is.device_caps & V4L2_CAP_STREAMING))
		fail("it does not stream");
	print("driver %s\ncard %s\n", (char *)is.driver, (char *)is.card);
}

/* Prints the formats, and of the test's own the sizes and the rates. */
static void ask_formats(void)
{
	struct v4l2_fmtdesc format = { .type = type };
	struct v4l2_frmsizeenum size = { .pixel_format = format_of_test() };
	struct v4l2_frmivalenum rate = {
		.pixel_format = format_of_test(),
		.width = WIDTH,
		.height = HEIGHT,
	};

	while (!call(device, VIDIOC_ENUM_FMT, &format)) {
		char name[5] = { 0 };

		memcpy(name, &format.pixelformat, 4);
		print("format %s\n", name);
		format.index++;
	}
	must(VIDIOC_ENUM_FRAMESIZES, &size, "ENUM_FRAMESIZES");
	equal("the type of sizes", size.type, V4L2_FRMSIZE_TYPE_STEPWISE);
	print("sizes %u %u %u %u\n", size.stepwise.min_width,
	      size.stepwise.max_width, size.stepwise.min_height,
	      size.stepwise.max_height);
	size.index = 1;
	equal("another size", call(device, VIDIOC_ENUM_FRAMESIZES, &size),
	      EINVAL);
	must(VIDIOC_ENUM_FRAMEINTERVALS, &rate, "ENUM_FRAMEINTERVALS");
	print("rates %u %u\n", rate.stepwise.min.denominator,
	      rate.stepwise.max.denominator);
}

/* Structures with 64-bit numbers in them, or of another size. */
static void ask_others(void)
{
	struct v4l2_input input = { 0 };
	struct v4l2_streamparm parm = { .type = type };
	struct v4l2_format format = { .type = type };
	struct v4l2_selection crop = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.target = V4L2_SEL_TGT_CROP_DEFAULT,
	};

	for (; !call(device, VIDIOC_ENUMINPUT, &input); input.index++) {
		print("input %s\n", (char *)input.name);
		equal("the standards of an input", !!input.std, 0);
	}
	must(VIDIOC_G_PARM, &parm, "G_PARM");
	print("interval %u %u\n", parm.parm.capture.timeperframe.numerator,
	      parm.parm.capture.timeperframe.denominator);
	must(VIDIOC_G_FMT, &format, "G_FMT");
	must(VIDIOC_G_SELECTION, &crop, "G_SELECTION");
	/* Both APIs have them in the same place. */
	equal("the width of all", crop.r.width, format.fmt.pix.width);
	equal("the height of all", crop.r.height, format.fmt.pix.height);
}

/* The id of the control of that name. */
static unsigned int control(const char *name)
{
	struct v4l2_query_ext_ctrl query = { 0 };
	const unsigned int next =
		V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND;

	do {
		query.id |= next;
		must(VIDIOC_QUERY_EXT_CTRL, &query, name);
	} while (!same(query.name, name));
	return query.id;
}

/* Pointers within an array behind a pointer, and numbers of 64 bits. */
static void ask_controls(void)
{
	const long long seed = -1234567890123LL;
	char text[64] = "of 32 bits", read[64] = { 0 };
	struct v4l2_ext_control list[3] = {
		{ .id = V4L2_CID_BRIGHTNESS, .value = 77 },
		{ .id = control("Text"), .size = sizeof(text), .string = text },
		{ .id = control("Noise Seed"), .value64 = seed },
	};
	struct v4l2_ext_controls all = { .count = 3, .controls = list };
	struct v4l2_queryctrl old = { .id = V4L2_CID_BRIGHTNESS };
	struct v4l2_querymenu item = { .id = control("Motion"), .index = 1 };
	struct v4l2_control one = { .id = V4L2_CID_BRIGHTNESS };
	int before;

	must(VIDIOC_G_CTRL, &one, "G_CTRL");
	before = one.value;
	must(VIDIOC_TRY_EXT_CTRLS, &all, "TRY_EXT_CTRLS");
	must(VIDIOC_G_CTRL, &one, "G_CTRL");
	equal("what was only tried", one.value, before);
	must(VIDIOC_S_EXT_CTRLS, &all, "S_EXT_CTRLS");
	list[0].value = 0;
	list[1].string = read;
	list[2].value64 = 0;
	must(VIDIOC_G_EXT_CTRLS, &all, "G_EXT_CTRLS");
	equal("brightness", list[0].value, 77);
	if (list[1].string != read || !same(read, "of 32 bits"))
		fail("the text is \"%s\"", read);
	if (list[2].value64 != seed)
		fail("the seed is not what it was set to");
	must(VIDIOC_G_CTRL, &one, "G_CTRL");
	equal("brightness by itself", one.value, 77);

	/* What is wrong with which of them comes back, too. */
	list[1].id = 1;
	all.error_idx = 9;
	equal("a control that is none",
	      call(device, VIDIOC_TRY_EXT_CTRLS, &all), EINVAL);
	equal("which is wrong", all.error_idx, 1);
	list[1].size = 1;
	list[1].id = control("Text");
	equal("too little room", !!call(device, VIDIOC_G_EXT_CTRLS, &all), 1);
	equal("how much it takes", list[1].size, sizeof(text));

	must(VIDIOC_QUERYCTRL, &old, "QUERYCTRL");
	equal("the most of brightness", old.maximum, 255);
	must(VIDIOC_QUERYMENU, &item, "QUERYMENU");
	print("motion %d\n", (int)item.value);
}

/* The next event tells of that brightness. */
static void take_event(int brightness)
{
	struct v4l2_event event;

	wait_for(POLLPRI);
	memset(&event, 0xee, sizeof(event));
	must(VIDIOC_DQEVENT, &event, "DQEVENT");
	equal("the type of an event", event.type, V4L2_EVENT_CTRL);
	equal("whose it is", event.id, V4L2_CID_BRIGHTNESS);
	equal("the control's value", event.u.ctrl.value, brightness);
	equal("its value in 64 bits", event.u.ctrl.value64, brightness);
	equal("its maximum", event.u.ctrl.maximum, 255);
	equal("its default", event.u.ctrl.default_value, 128);
	equal("events that wait", event.pending, 0);
	just_now("an event", event.timestamp.tv_sec, event.timestamp.tv_nsec,
		 1000000000);
	for (int i = 0; i < 8; i++)
		equal("what is reserved", event.reserved[i], 0);
}

static void ask_events(const char *path)
{
	struct v4l2_event_subscription wanted = {
		.type = V4L2_EVENT_CTRL,
		.id = V4L2_CID_BRIGHTNESS,
		.flags = V4L2_EVENT_SUB_FL_SEND_INITIAL,
	};
	struct v4l2_control one = { .id = V4L2_CID_BRIGHTNESS, .value = 99 };
	struct v4l2_event event;
	int other = open_file(path, O_RDWR | O_NONBLOCK);

	must(VIDIOC_SUBSCRIBE_EVENT, &wanted, "SUBSCRIBE_EVENT");
	take_event(77);
	equal("S_CTRL of another", call(other, VIDIOC_S_CTRL, &one), 0);
	take_event(99);
	must(VIDIOC_UNSUBSCRIBE_EVENT, &wanted, "UNSUBSCRIBE_EVENT");
	equal("an event without a subscription",
	      call(other, VIDIOC_DQEVENT, &event), ENOENT);
	system_call(SYS_CLOSE, other, 0, 0);
}

/* A buffer, and its planes. */
struct frame {
	struct v4l2_buffer buffer;
	struct v4l2_plane planes[VIDEO_MAX_PLANES];
};

/* What a frame takes: as many planes, of so many bytes. */
static unsigned int planes;
static unsigned int sizes[VIDEO_MAX_PLANES];
static char *memories[BUFFERS + 1][VIDEO_MAX_PLANES];

static void set_format(void)
{
	struct v4l2_format format = { .type = type };

	if (is_multi) {
		format.fmt.pix_mp.width = WIDTH;
		format.fmt.pix_mp.height = HEIGHT;
		format.fmt.pix_mp.pixelformat = format_of_test();
	} else {
		format.fmt.pix.width = WIDTH;
		format.fmt.pix.height = HEIGHT;
		format.fmt.pix.pixelformat = format_of_test();
	}
	must(VIDIOC_TRY_FMT, &format, "TRY_FMT");
	must(VIDIOC_S_FMT, &format, "S_FMT");
	memset(&format.fmt, 0xee, sizeof(format.fmt));
	must(VIDIOC_G_FMT, &format, "G_FMT");
	if (is_multi) {
		planes = format.fmt.pix_mp.num_planes;
		equal("width", format.fmt.pix_mp.width, WIDTH);
		equal("height", format.fmt.pix_mp.height, HEIGHT);
		for (unsigned int i = 0; i < planes && i < VIDEO_MAX_PLANES; i++)
			sizes[i] = format.fmt.pix_mp.plane_fmt[i].sizeimage;
		equal("planes", planes, 2);
	} else {
		planes = 1;
		equal("width", format.fmt.pix.width, WIDTH);
		equal("height", format.fmt.pix.height, HEIGHT);
		sizes[0] = format.fmt.pix.sizeimage;
	}
	for (unsigned int i = 0; i < planes; i++)
		print("sizeimage %u\n", sizes[i]);
}

static void begin_frame(struct frame *frame, unsigned int memory,
			unsigned int index)
{
	memset(frame, 0, sizeof(*frame));
	frame->buffer.type = type;
	frame->buffer.memory = memory;
	frame->buffer.index = index;
	if (is_multi) {
		frame->buffer.m.planes = frame->planes;
		frame->buffer.length = VIDEO_MAX_PLANES;
	}
}

/* Gives the buffer its memory, where that is the program's. */
static void fill_in(struct frame *frame)
{
	unsigned int index = frame->buffer.index;

	if (is_multi)
		frame->buffer.length = planes;
	if (frame->buffer.memory != V4L2_MEMORY_USERPTR)
		return;
	if (!is_multi) {
		frame->buffer.m.userptr = (unsigned long)memories[index][0];
		frame->buffer.length = sizes[0];
		return;
	}
	for (unsigned int i = 0; i < planes; i++) {
		frame->planes[i].m.userptr = (unsigned long)memories[index][i];
		frame->planes[i].length = sizes[i];
	}
}

/* That what came back is the buffer that was given. */
static void check_memory(const struct frame *frame, const char *when)
{
	unsigned int index = frame->buffer.index;

	equal(when, frame->buffer.type, type);
	if (is_multi) {
		equal(when, (unsigned long)frame->buffer.m.planes,
		      (unsigned long)frame->planes);
		equal(when, frame->buffer.length, planes);
	}
	for (unsigned int i = 0; i < planes; i++) {
		const struct v4l2_plane *plane = &frame->planes[i];
		unsigned long at = is_multi ? plane->m.userptr :
					      frame->buffer.m.userptr;
		unsigned int length = is_multi ? plane->length :
						 frame->buffer.length;

		equal(when, length, sizes[i]);
		if (frame->buffer.memory == V4L2_MEMORY_USERPTR)
			equal(when, at, (unsigned long)memories[index][i]);
	}
}

static void queue(unsigned int memory, unsigned int index)
{
	struct frame frame;

	begin_frame(&frame, memory, index);
	fill_in(&frame);
	must(VIDIOC_QBUF, &frame.buffer, "QBUF");
	check_memory(&frame, "a buffer that is queued");
	if (!(frame.buffer.flags & V4L2_BUF_FLAG_QUEUED))
		fail("a buffer is not queued");
	begin_frame(&frame, memory, index);
	must(VIDIOC_QUERYBUF, &frame.buffer, "QUERYBUF");
	check_memory(&frame, "a buffer that is asked after");
}

/* Memory for the planes of a buffer. */
static void lay_out(unsigned int memory, unsigned int index)
{
	struct frame frame;

	begin_frame(&frame, memory, index);
	must(VIDIOC_QUERYBUF, &frame.buffer, "QUERYBUF");
	equal("the buffer's index", frame.buffer.index, index);
	for (unsigned int i = 0; i < planes; i++) {
		unsigned long offset = is_multi ? frame.planes[i].m.mem_offset :
						  frame.buffer.m.offset;

		memories[index][i] =
			memory == V4L2_MEMORY_USERPTR ?
				map(sizes[i] + OFFSET, -1, 0) + OFFSET :
				map(sizes[i], device, offset);
	}
}

/* Takes a buffer with the next frame, and writes the frame to a file. */
static unsigned int dequeue(unsigned int memory, int file)
{
	static long long before;
	struct frame frame;
	long long at;

	wait_for(POLLIN);
	begin_frame(&frame, memory, 0);
	must(VIDIOC_DQBUF, &frame.buffer, "DQBUF");
	check_memory(&frame, "a buffer with a frame");
	if (frame.buffer.flags & (V4L2_BUF_FLAG_QUEUED | V4L2_BUF_FLAG_ERROR))
		fail("the flags of a frame are %u", frame.buffer.flags);
	equal("the field of a frame", frame.buffer.field, V4L2_FIELD_NONE);
	just_now("a frame", frame.buffer.timestamp.tv_sec,
		 frame.buffer.timestamp.tv_usec, 1000000);
	at = frame.buffer.timestamp.tv_sec * 1000000LL +
	     frame.buffer.timestamp.tv_usec;
	if (at <= before)
		fail("frame %u is older than the one before it",
		     frame.buffer.sequence);
	before = at;
	print("sequence %u\n", frame.buffer.sequence);
	for (unsigned int i = 0; i < planes; i++) {
		unsigned int used = is_multi ? frame.planes[i].bytesused :
					       frame.buffer.bytesused;

		equal("bytes of a frame", used, sizes[i]);
		put(file, memories[frame.buffer.index][i], used);
	}
	return frame.buffer.index;
}

static void capture(unsigned int memory, const char *path)
{
	struct v4l2_requestbuffers request = {
		.count = BUFFERS,
		.type = type,
		.memory = memory,
	};
	struct v4l2_create_buffers more = { .count = 1, .memory = memory };
	int file = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);
	struct frame frame;

	must(VIDIOC_REQBUFS, &request, "REQBUFS");
	equal("buffers", request.count, BUFFERS);
	more.format.type = type;
	must(VIDIOC_G_FMT, &more.format, "G_FMT");
	must(VIDIOC_CREATE_BUFS, &more, "CREATE_BUFS");
	equal("the buffer that was made", more.index, BUFFERS);
	for (unsigned int index = 0; index <= BUFFERS; index++)
		lay_out(memory, index);
	begin_frame(&frame, memory, BUFFERS);
	fill_in(&frame);
	must(VIDIOC_PREPARE_BUF, &frame.buffer, "PREPARE_BUF");
	check_memory(&frame, "a buffer that is prepared");
	for (unsigned int index = 0; index <= BUFFERS; index++)
		queue(memory, index);
	must(VIDIOC_STREAMON, &type, "STREAMON");
	for (int left = FRAMES; left; left--)
		queue(memory, dequeue(memory, file));
	must(VIDIOC_STREAMOFF, &type, "STREAMOFF");
	request.count = 0;
	must(VIDIOC_REQBUFS, &request, "REQBUFS of none");
}

static int main(int argc, char **argv)
{
	if (argc < 3)
		fail("usage: compat DEVICE ask | user FILE | mmap FILE");
	device = open_file(argv[1], O_RDWR);
	ask_capabilities();
	if (same(argv[2], "ask")) {
		ask_formats();
		ask_others();
		ask_controls();
		ask_events(argv[1]);
		return 0;
	}
	if (argc < 4)
		fail("no file");
	set_format();
	capture(same(argv[2], "mmap") ? V4L2_MEMORY_MMAP : V4L2_MEMORY_USERPTR,
		argv[3]);
	return 0;
}
