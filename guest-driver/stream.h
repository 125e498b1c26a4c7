/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The stream: the buffers of videobuf2, and where they are.
 */
#ifndef PINHOLE_STREAM_H
#define PINHOLE_STREAM_H

#include <linux/device.h>
#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <media/videobuf2-v4l2.h>

#include "clock.h"
#include "virtio_media.h"

struct pinhole_context;
struct pinhole_device;

/* A frame larger than this is taken for a mistake of the device. */
#define PINHOLE_MAX_SIZEIMAGE SZ_64M

/* How much may stand in a plane before a frame that the device reads. */
#define PINHOLE_MAX_DATA_OFFSET SZ_64K

/**
 * struct pinhole_buffer - a videobuf2 buffer
 * @vb: what videobuf2 knows of it; must be first
 * @node: entry in the list of buffers that videobuf2 has handed over, or of those
 *	  that go back to it
 * @queued: its QBUF command is not answered yet
 * @at_device: queued at the device, no DQBUF event seen
 * @returned: no longer at the device; goes back once it is not @queued, either
 * @result: state to give it back in, once @returned
 *
 * The QBUF response and the DQBUF event come on different virtqueues and are
 * seen in either order. The buffer goes back to videobuf2 only when both have
 * been seen, so that its command is idle when it is queued again.
 */
struct pinhole_buffer {
	struct vb2_v4l2_buffer vb;
	struct list_head node;
	bool queued;
	bool at_device;
	bool returned;
	enum vb2_buffer_state result;
};

/**
 * enum pinhole_state - state of the stream
 * @PINHOLE_STOPPED: no buffer is at the device
 * @PINHOLE_STARTING: buffers go to the device; those that return are kept back,
 *		      for they must be given back QUEUED if the start fails
 * @PINHOLE_STREAMING: buffers come and go
 * @PINHOLE_STOPPING: buffers come back, none go
 */
enum pinhole_state {
	PINHOLE_STOPPED,
	PINHOLE_STARTING,
	PINHOLE_STREAMING,
	PINHOLE_STOPPING,
};

/**
 * struct pinhole_stream - a stream
 * @ctx: the context that it belongs to
 * @dev: the device
 * @mem_dev: stands for the stream where videobuf2 asks for memory, and says nothing
 *	     else of what it is for before 5.16: no device, and not registered
 * @queue: the buffer queue, under the context's queue_mutex like what follows
 * @format: format that the buffers are made for
 * @num_planes: number of planes of a buffer in it
 * @plane_sizes: their lengths in bytes
 * @allocated: number of planes of MMAP memory that there are
 * @lock: guards what follows
 * @state: state of the stream
 * @failed: the stream is dead until STREAMOFF
 * @session: number of the session that the stream runs in
 * @sequence: sequence number of the buffer that the device returned last
 * @clock: the device's clock
 * @buffers: buffers that videobuf2 has handed over
 * @done: buffers that are to be given back to it, in order
 * @giving: somebody gives them back
 * @slots: buffers at the device, by index
 * @qbufs: number of QBUF commands that are not answered
 * @idle: woken when @qbufs falls to 0, @giving ends, or there is a fault
 * @work: gives back what must not be given back in an interrupt
 */
struct pinhole_stream {
	struct pinhole_context *ctx;
	struct pinhole_device *dev;
	struct device mem_dev;
	struct vb2_queue queue;
	struct v4l2_format format;
	unsigned int num_planes;
	u32 plane_sizes[VIDEO_MAX_PLANES];
	unsigned int allocated;
	spinlock_t lock; /* where the buffers are */
	enum pinhole_state state;
	bool failed;
	u32 session;
	u32 sequence;
	struct pinhole_clock clock;
	struct list_head buffers;
	struct list_head done;
	bool giving;
	struct pinhole_buffer *slots[VIDEO_MAX_FRAME];
	unsigned int qbufs;
	wait_queue_head_t idle;
	struct work_struct work;
};

static inline struct pinhole_buffer *to_pinhole_buffer(struct vb2_buffer *vb)
{
	return container_of(to_vb2_v4l2_buffer(vb), struct pinhole_buffer, vb);
}

/* Whether the planes of the stream's buffers have memory of their own. */
static inline bool pinhole_is_multiplanar(const struct pinhole_stream *stream)
{
	return V4L2_TYPE_IS_MULTIPLANAR(stream->queue.type);
}

/* Whether the device reads the buffers, which applications fill. */
static inline bool pinhole_is_output(const struct pinhole_stream *stream)
{
	return V4L2_TYPE_IS_OUTPUT(stream->queue.type);
}

/* Which way the data of the buffers go. */
static inline enum dma_data_direction
pinhole_dma_dir(const struct pinhole_stream *stream)
{
	return pinhole_is_output(stream) ? DMA_TO_DEVICE : DMA_FROM_DEVICE;
}

/*
 * How much of a plane the device has at most: a frame, and before it what the
 * application may keep there in a plane with an offset (data_offset).
 */
static inline u32 pinhole_plane_needed(const struct pinhole_stream *stream,
				       unsigned int plane)
{
	u32 needed = stream->plane_sizes[plane];

	if (pinhole_is_output(stream) && pinhole_is_multiplanar(stream))
		needed += PINHOLE_MAX_DATA_OFFSET;
	return needed;
}

/* frame.c */
u32 pinhole_plane_length(struct vb2_buffer *vb, unsigned int plane);
int pinhole_frame_prepare(struct vb2_buffer *vb);
int pinhole_buf_out_validate(struct vb2_buffer *vb);
void pinhole_frame_give(struct pinhole_buffer *buf, struct v4l2_buffer *b,
			struct v4l2_plane *planes);
const char *pinhole_frame_take(struct pinhole_buffer *buf,
			       const struct v4l2_buffer *b,
			       const struct v4l2_plane *planes);
void pinhole_frame_none(struct pinhole_buffer *buf);

/* buffer.c */
int pinhole_buf_init(struct vb2_buffer *vb);
int pinhole_buf_prepare(struct vb2_buffer *vb);
void pinhole_buf_queue(struct vb2_buffer *vb);
void pinhole_buffer_submit(struct pinhole_stream *stream,
			   struct pinhole_buffer *buf);
void pinhole_buffer_settle(struct pinhole_stream *stream,
			   struct pinhole_buffer *buf);
bool pinhole_buffer_returned(struct pinhole_device *dev, u32 session_id,
			     const struct virtio_media_event_dqbuf *event,
			     u32 used);
void pinhole_buffer_done(struct pinhole_buffer *buf);
void pinhole_buffers_done(struct pinhole_device *dev);
void pinhole_buffers_work(struct work_struct *work);

/* stream.c */
void pinhole_stream_init(struct pinhole_stream *stream,
			 struct pinhole_context *ctx);
void pinhole_stream_exit(struct pinhole_stream *stream);
void pinhole_streams_fail(struct pinhole_context *ctx, const char *why);
void pinhole_streams_fault(struct pinhole_device *dev);
int pinhole_start_streaming(struct vb2_queue *q, unsigned int count);
void pinhole_stop_streaming(struct vb2_queue *q);

#endif /* PINHOLE_STREAM_H */
