/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pinhole: a V4L2 capture driver for the virtio media device.
 *
 * Locks, outermost first:
 *
 *   ioctl_mutex    serialises the ioctls that are not the buffer queue's
 *   queue_mutex    videobuf2's lock: buffers, and the format while they exist
 *   ctrl_handler's lock: the values of the controls
 *   session_mutex  one synchronous command at a time; the session
 *   lock           (spinlock, irqsave) virtqueues, commands, buffers at the
 *                  card, the state of the stream. Nothing waits under it.
 */
#ifndef PINHOLE_H
#define PINHOLE_H

#include <linux/bitmap.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <media/v4l2-ctrls.h>
#include <media/v4l2-device.h>
#include <media/v4l2-ioctl.h>
#include <media/videobuf2-v4l2.h>

#include "compat.h"
#include "virtio_media.h"

/* A frame larger than this is taken for a mistake of the card. */
#define PINHOLE_MAX_SIZEIMAGE SZ_64M

/* When what failed for want of memory is tried again, in jiffies. */
#define PINHOLE_RETRY HZ

/* Events that the card can have under way; a queue of 32 buffers needs 32. */
#define PINHOLE_MAX_EVENTS 64

struct pinhole_cmd;

/**
 * struct pinhole_buffer - a videobuf2 buffer
 * @vb: what videobuf2 knows of it; must be first
 * @node: entry in the device's list of buffers that videobuf2 has handed over
 * @cmd: its QBUF command, with the scatter entries of its memory
 * @at_card: queued at the card, no DQBUF event seen
 * @returned: no longer at the card; goes back once @cmd is idle, too
 * @result: state to give it back in, once @returned
 *
 * The QBUF response and the DQBUF event come on different virtqueues and are
 * seen in either order. The buffer goes back to videobuf2 only when both have
 * been seen, so that its command is idle when it is queued again.
 */
struct pinhole_buffer {
	struct vb2_v4l2_buffer vb;
	struct list_head node;
	struct pinhole_cmd *cmd;
	bool at_card;
	bool returned;
	enum vb2_buffer_state result;
};

/**
 * enum pinhole_stream - state of the stream
 * @PINHOLE_STOPPED: no buffer is at the card
 * @PINHOLE_STARTING: buffers go to the card; those that return are kept back,
 *		      for they must be given back QUEUED if the start fails
 * @PINHOLE_STREAMING: buffers come and go
 * @PINHOLE_STOPPING: buffers come back, none go
 */
enum pinhole_stream {
	PINHOLE_STOPPED,
	PINHOLE_STARTING,
	PINHOLE_STREAMING,
	PINHOLE_STOPPING,
};

/**
 * struct pinhole_device - one card
 * @v4l2_dev: V4L2 device; its release frees this structure
 * @video_dev: the device node
 * @queue: the buffer queue
 * @ioctl_mutex: see the top of this file
 * @queue_mutex: see the top of this file
 * @session_mutex: see the top of this file
 * @lock: see the top of this file
 * @vdev: virtio device, of which a reference is held
 * @dma_dev: device that does the DMA: the parent of @vdev
 * @use_dma: the card is given DMA addresses (VIRTIO_F_ACCESS_PLATFORM), not
 *	     guest-physical ones
 * @dma_identity: the DMA API hands out guest-physical addresses here
 * @card: name of the card, NUL-terminated
 * @format: format that the buffers are made for (under @queue_mutex)
 * @num_planes: number of planes of a buffer in it
 * @plane_sizes: their lengths in bytes
 * @session_id: the session (under @session_mutex and @lock)
 * @session_open: the card has the session (under @session_mutex)
 * @session_bad: the card gave up the session; it must be replaced
 * @session_work: replaces a session that the card gave up
 * @close_cmd: command that closes a session (under @session_mutex): closing,
 *	       which takes all buffers from the card, needs no memory
 * @frame_sync_users: subscriptions to FRAME_SYNC (under @session_mutex)
 * @has_eos: the card has the event EOS
 * @has_source_change: the card has the event SOURCE_CHANGE
 * @complaints: ioctls whose nonsensical answer has been logged
 * @ctrl_handler: what the control framework knows of the controls
 * @controls: the controls; the list does not change after the probe
 * @control_work: takes over changes of controls that the card has reported
 * @commandq: command queue; not there any more when @fault is -ENODEV
 * @eventq: event queue; likewise
 * @command_slots: number of descriptors of @commandq
 * @pending: commands that wait for room in @commandq
 * @inflight: commands in @commandq, oldest first
 * @orphans: commands that came back after their owner gave them up
 * @fault: 0; -EIO once the card stopped answering; -ENODEV once it is removed
 * @heard: when the card last gave a sign of life, in jiffies
 * @watchdog: looks after the card while it streams
 * @ping: command of @watchdog
 * @stream: state of the stream
 * @stream_failed: the stream is dead until STREAMOFF
 * @stream_session: session that the stream runs in
 * @sequence: sequence number of the buffer that the card returned last
 * @buffers: buffers that videobuf2 has handed over
 * @slots: buffers at the card, by index
 * @qbufs: number of QBUF commands that are not idle
 * @idle: woken when @qbufs falls to 0 or @fault is set
 * @events: event buffers
 * @num_events: number of @events
 * @ignored: number of events that were ignored
 * @held_mem: memory to free after the reset
 * @was_reset: the card was reset for good
 */
struct pinhole_device {
	struct v4l2_device v4l2_dev;
	struct video_device video_dev;
	struct vb2_queue queue;
	struct mutex ioctl_mutex; /* the ioctls that are not the queue's */
	struct mutex queue_mutex; /* the buffer queue and the format */
	struct mutex session_mutex; /* synchronous commands and the session */
	spinlock_t lock; /* virtqueues, commands, the state of the stream */

	struct virtio_device *vdev;
	struct device *dma_dev;
	bool use_dma;
	bool dma_identity;
	char card[33];
	struct v4l2_format format;
	unsigned int num_planes;
	u32 plane_sizes[VIDEO_MAX_PLANES];

	u32 session_id;
	bool session_open;
	bool session_bad;
	struct delayed_work session_work;
	struct pinhole_cmd *close_cmd;
	unsigned int frame_sync_users;
	bool has_eos;
	bool has_source_change;
	DECLARE_BITMAP(complaints, 256);

	struct v4l2_ctrl_handler ctrl_handler;
	struct list_head controls;
	struct delayed_work control_work;

	struct virtqueue *commandq;
	struct virtqueue *eventq;
	unsigned int command_slots;
	struct list_head pending;
	struct list_head inflight;
	struct list_head orphans;
	int fault;
	unsigned long heard;
	struct delayed_work watchdog;
	struct pinhole_cmd *ping;

	enum pinhole_stream stream;
	bool stream_failed;
	u32 stream_session;
	u32 sequence;
	struct list_head buffers;
	struct pinhole_buffer *slots[VIDEO_MAX_FRAME];
	unsigned int qbufs;
	wait_queue_head_t idle;

	struct virtio_media_event_dqbuf *events[PINHOLE_MAX_EVENTS];
	unsigned int num_events;
	unsigned long ignored;

	struct list_head held_mem;
	bool was_reset;
};

/**
 * pinhole_is_multiplanar() - which kind of buffers the card has
 * @dev: device
 *
 * Context: Any.
 * Return: True if its buffers have planes with memory of their own.
 */
static inline bool pinhole_is_multiplanar(const struct pinhole_device *dev)
{
	return dev->queue.type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
}

/* main.c */
unsigned long pinhole_timeout(void);
bool pinhole_native_userptr(void);

/* watchdog.c */
int pinhole_watchdog_init(struct pinhole_device *dev);
void pinhole_watchdog_start(struct pinhole_device *dev);
void pinhole_watchdog_stop(struct pinhole_device *dev);

/* event.c */
int pinhole_events_init(struct pinhole_device *dev);
void pinhole_events_free(struct pinhole_device *dev);
void pinhole_events_drain(struct pinhole_device *dev);
void pinhole_eventq_cb(struct virtqueue *vq);

/* subscribe.c */
int pinhole_session_subscribe(struct pinhole_device *dev);
int pinhole_subscribe_event(struct v4l2_fh *fh,
			    const struct v4l2_event_subscription *sub);
bool pinhole_has_events(struct pinhole_device *dev);

/* v4l2.c */
int pinhole_register_node(struct pinhole_device *dev);

/* format.c */
int pinhole_take_format(struct pinhole_device *dev);
int pinhole_check_format(struct pinhole_device *dev);
bool pinhole_fraction_good(const struct v4l2_fract *f);
int pinhole_enum_fmt(struct file *file, void *priv, struct v4l2_fmtdesc *f);
int pinhole_g_fmt(struct file *file, void *priv, struct v4l2_format *f);
int pinhole_try_fmt(struct file *file, void *priv, struct v4l2_format *f);
int pinhole_s_fmt(struct file *file, void *priv, struct v4l2_format *f);
int pinhole_enum_framesizes(struct file *file, void *priv,
			    struct v4l2_frmsizeenum *fsize);
int pinhole_enum_frameintervals(struct file *file, void *priv,
				struct v4l2_frmivalenum *fival);

/* input.c */
int pinhole_g_parm(struct file *file, void *priv, struct v4l2_streamparm *parm);
int pinhole_s_parm(struct file *file, void *priv, struct v4l2_streamparm *parm);
int pinhole_enum_input(struct file *file, void *priv, struct v4l2_input *input);
int pinhole_g_input(struct file *file, void *priv, unsigned int *index);
int pinhole_s_input(struct file *file, void *priv, unsigned int index);
bool pinhole_has_selection(struct pinhole_device *dev);
int pinhole_g_selection(struct file *file, void *priv,
			struct v4l2_selection *sel);
int pinhole_s_selection(struct file *file, void *priv,
			struct v4l2_selection *sel);

/* vb2.c */
int pinhole_queue_init(struct pinhole_device *dev);
void pinhole_stream_fail(struct pinhole_device *dev, const char *why);

/* buffer.c */
struct pinhole_buffer *to_pinhole_buffer(struct vb2_buffer *vb);
int pinhole_buffer_describe(struct vb2_buffer *vb);
void pinhole_buffer_submit(struct pinhole_device *dev,
			   struct pinhole_buffer *buf);
void pinhole_buffer_settle(struct pinhole_device *dev,
			   struct pinhole_buffer *buf);
const char *pinhole_buffer_returned(struct pinhole_device *dev,
				    const struct v4l2_buffer *b,
				    const struct v4l2_plane *planes);

#endif /* PINHOLE_H */
