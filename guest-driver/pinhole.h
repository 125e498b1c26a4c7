/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pinhole: a V4L2 capture and output driver for the virtio media device.
 *
 * Locks, outermost first:
 *
 *   ioctl_mutex          serialises the ioctls that are not the buffer queue's
 *   stream.queue_mutex   videobuf2's lock: buffers, and their format
 *   ctrl_handler's lock  the values of the controls
 *   session.mutex        one synchronous command at a time; the session
 *   commands.ring.lock   the command queue
 *   events.ring.lock     the event queue; neither is taken with the other held
 *   stream.lock          where the buffers are
 *   session.lock, controls.lock
 *
 * The last four lines are spinlocks, under which nothing waits, nothing is given
 * back to videobuf2, and the device is not notified. region.lock, a mutex for what
 * is mapped of the device's memory, comes after session.mutex, and after the locks of
 * a process's mappings, under which it is taken without any other of these. Those of
 * a file's mappings come after it.
 */
#ifndef PINHOLE_H
#define PINHOLE_H

#include <linux/notifier.h>
#include <media/v4l2-ctrls.h>
#include <media/v4l2-device.h>
#include <media/v4l2-ioctl.h>
#include <media/videobuf2-v4l2.h>

#include "compat.h"
#include "controls.h"
#include "eventq.h"
#include "memory.h"
#include "region.h"
#include "session.h"
#include "stream.h"
#include "transport.h"
#include "virtio_media.h"

/**
 * struct pinhole_upcalls - what a file calls of files that stand above it
 * @done: buffers may be done; called without a spinlock of the driver
 * @fault: the device was given up; likewise
 * @fail: the device broke a rule, and the stream is dead
 * @dqbuf: a DQBUF event has come; false if it is to be ignored
 * @event: a V4L2 event has come; likewise
 * @lost: the device gave up a session; likewise
 * @reset: the device is going to be reset; called with session.mutex held
 * @renewed: there is a new session, which session.mutex is held for; 0,
 *	     -ETIMEDOUT if the device is too slow, or a negative errno for which
 *	     pinhole_is_local() is true
 *
 * All other calls go to files that stand before the caller's in Kbuild.
 */
struct pinhole_upcalls {
	void (*done)(struct pinhole_device *dev);
	void (*fault)(struct pinhole_device *dev);
	void (*fail)(struct pinhole_device *dev, const char *why);
	bool (*dqbuf)(struct pinhole_device *dev, u32 session_id,
		      const struct virtio_media_event_dqbuf *event, u32 used);
	bool (*event)(struct pinhole_device *dev, u32 session_id,
		      const struct virtio_media_event_event *event);
	bool (*lost)(struct pinhole_device *dev, u32 session_id);
	void (*reset)(struct pinhole_device *dev);
	int (*renewed)(struct pinhole_device *dev);
};

/**
 * struct pinhole_device - one virtio media device
 * @v4l2_dev: V4L2 device; its release frees this structure
 * @video_dev: the device node
 * @ioctl_mutex: see the top of this file
 * @vdev: virtio device, of which a reference is held
 * @up: calls upwards
 * @reboot: told when the system goes down
 * @card: name of the device, NUL-terminated
 * @cap: what it is: V4L2_CAP_VIDEO_CAPTURE or V4L2_CAP_VIDEO_OUTPUT, or one of their
 *	 multi-planar counterparts
 * @dma: how the device addresses memory
 * @commands: the command queue, and the fault
 * @events: the event queue
 * @session: the session, and what looks after it
 * @region: the device's own memory
 * @stream: the buffer queue, and the buffers
 * @controls: the controls
 * @subscriptions: which events the device has
 */
struct pinhole_device {
	struct v4l2_device v4l2_dev;
	struct video_device video_dev;
	struct mutex ioctl_mutex; /* the ioctls that are not the queue's */
	struct virtio_device *vdev;
	const struct pinhole_upcalls *up;
	struct notifier_block reboot;
	char card[33];
	u32 cap;
	struct pinhole_dma dma;
	struct pinhole_commands commands;
	struct pinhole_events events;
	struct pinhole_session session;
	struct pinhole_region region;
	struct pinhole_stream stream;
	struct pinhole_controls controls;
	struct pinhole_subscriptions subscriptions;
};

/* Whether the planes of the device's buffers have memory of their own. */
static inline bool pinhole_is_multiplanar(const struct pinhole_device *dev)
{
	return V4L2_TYPE_IS_MULTIPLANAR(dev->stream.queue.type);
}

/* Whether the device reads the buffers, which applications fill. */
static inline bool pinhole_is_output(const struct pinhole_device *dev)
{
	return V4L2_TYPE_IS_OUTPUT(dev->stream.queue.type);
}

/* Which way the data of the buffers go; known once there is a queue. */
static inline enum dma_data_direction
pinhole_dma_dir(const struct pinhole_device *dev)
{
	return dev->stream.queue.dma_dir;
}

/*
 * How much of a plane the device has at most: a frame, and before it what the
 * application may keep there in a plane with an offset (data_offset).
 */
static inline u32 pinhole_plane_needed(const struct pinhole_device *dev,
				       unsigned int plane)
{
	u32 needed = dev->stream.plane_sizes[plane];

	if (pinhole_is_output(dev) && pinhole_is_multiplanar(dev))
		needed += PINHOLE_MAX_DATA_OFFSET;
	return needed;
}

/* Where a device's buffers are: in its own memory, or the guest's. */
static inline u32 pinhole_wire_memory(const struct pinhole_device *dev)
{
	return dev->region.used ? V4L2_MEMORY_MMAP : V4L2_MEMORY_USERPTR;
}

/* Whether a time per frame is more than 0 and less than infinite. */
static inline bool pinhole_fraction_good(const struct v4l2_fract *f)
{
	return f->numerator && f->denominator;
}

/* virtqueues.c */
int pinhole_virtqueues_up(struct pinhole_device *dev);
int pinhole_virtqueues_up_again(struct pinhole_device *dev);
void pinhole_virtqueues_down(struct pinhole_device *dev);

/* format.c */
int pinhole_take_format(struct pinhole_device *dev);
int pinhole_check_format(struct pinhole_device *dev,
			 const struct v4l2_format *f);
int pinhole_enum_fmt(struct file *file, void *priv, struct v4l2_fmtdesc *f);
int pinhole_g_fmt(struct file *file, void *priv, struct v4l2_format *f);
int pinhole_try_fmt(struct file *file, void *priv, struct v4l2_format *f);
int pinhole_s_fmt(struct file *file, void *priv, struct v4l2_format *f);
int pinhole_enum_framesizes(struct file *file, void *priv,
			    struct v4l2_frmsizeenum *fsize);
int pinhole_enum_frameintervals(struct file *file, void *priv,
				struct v4l2_frmivalenum *fival);

/* rate.c */
int pinhole_g_parm(struct file *file, void *priv, struct v4l2_streamparm *parm);
int pinhole_s_parm(struct file *file, void *priv, struct v4l2_streamparm *parm);

/* connector.c */
int pinhole_enum_input(struct file *file, void *priv, struct v4l2_input *input);
int pinhole_g_input(struct file *file, void *priv, unsigned int *index);
int pinhole_s_input(struct file *file, void *priv, unsigned int index);
int pinhole_enum_output(struct file *file, void *priv,
			struct v4l2_output *output);
int pinhole_g_output(struct file *file, void *priv, unsigned int *index);
int pinhole_s_output(struct file *file, void *priv, unsigned int index);

/* selection.c */
bool pinhole_has_selection(struct pinhole_device *dev);
int pinhole_g_selection(struct file *file, void *priv,
			struct v4l2_selection *sel);
int pinhole_s_selection(struct file *file, void *priv,
			struct v4l2_selection *sel);

/* vb2.c */
int pinhole_queue_init(struct pinhole_device *dev);

/* node.c */
int pinhole_register_node(struct pinhole_device *dev);

#endif /* PINHOLE_H */
