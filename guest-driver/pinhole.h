/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pinhole: a V4L2 driver for the virtio media device.
 *
 * Locks, outermost first:
 *
 *   ioctl_mutex          serialises the ioctls that are not the buffer queue's; of a
 *			  device from memory to memory none is taken
 *   contexts.mutex	  the list of contexts
 *   context.queue_mutex  videobuf2's lock: buffers, and their formats
 *   ctrl_handler's lock  the values of the controls
 *   commands.mutex       one synchronous command at a time; the sessions
 *   commands.ring.lock   the command queue
 *   events.ring.lock     the event queue; neither is taken with the other held
 *   stream.lock          where the buffers are
 *   session.lock, controls.lock
 *
 * The last four lines are spinlocks, under which nothing waits, nothing is given
 * back to videobuf2, and the device is not notified. region.lock, a mutex for what
 * is mapped of the device's memory, comes after commands.mutex, and after the locks of
 * a process's mappings, under which it is taken without any other of these. Those of
 * a file's mappings come after it.
 *
 * Who holds none of the mutexes finds contexts under RCU: one is freed a grace period
 * after it has left the list.
 */
#ifndef PINHOLE_H
#define PINHOLE_H

#include <linux/notifier.h>
#include <media/v4l2-ctrls.h>
#include <media/v4l2-device.h>
#include <media/v4l2-ioctl.h>
#include <media/videobuf2-v4l2.h>

#include "compat.h"
#include "context.h"
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
 * @fail: the device broke a rule, and the streams of a context are dead; said nothing
 *	  of in the log if there is no reason
 * @dqbuf: a DQBUF event has come; false if it is to be ignored
 * @event: a V4L2 event has come; likewise
 * @lost: the device gave up a session; likewise
 * @reset: the device is going to be reset; called with commands.mutex held
 * @renewed: there is a new session, which commands.mutex is held for; 0,
 *	     -ETIMEDOUT if the device is too slow, or a negative errno for which
 *	     pinhole_is_local() is true
 *
 * All other calls go to files that stand before the caller's in Kbuild.
 */
struct pinhole_upcalls {
	void (*done)(struct pinhole_device *dev);
	void (*fault)(struct pinhole_device *dev);
	void (*fail)(struct pinhole_context *ctx, const char *why);
	bool (*dqbuf)(struct pinhole_device *dev, u32 session_id,
		      const struct virtio_media_event_dqbuf *event, u32 used);
	bool (*event)(struct pinhole_device *dev, u32 session_id,
		      const struct virtio_media_event_event *event);
	bool (*lost)(struct pinhole_device *dev, u32 session_id);
	void (*reset)(struct pinhole_device *dev);
	int (*renewed)(struct pinhole_context *ctx);
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
 * @cap: what it is: V4L2_CAP_VIDEO_CAPTURE, V4L2_CAP_VIDEO_OUTPUT or
 *	 V4L2_CAP_VIDEO_M2M, or one of their multi-planar counterparts
 * @dma: how the device addresses memory
 * @commands: the command queue, and the fault
 * @events: the event queue
 * @recovery: what looks after the device and its sessions
 * @region: the device's own memory
 * @contexts: the contexts that there are
 * @context: the context of all files; of a device from memory to memory, whose files
 *	     have their own, that of the probe
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
	struct pinhole_recovery recovery;
	struct pinhole_region region;
	struct pinhole_contexts contexts;
	struct pinhole_context context;
};

/* Whether the device makes frames out of frames: each file has a context. */
static inline bool pinhole_is_m2m(const struct pinhole_device *dev)
{
	return dev->cap & (V4L2_CAP_VIDEO_M2M | V4L2_CAP_VIDEO_M2M_MPLANE);
}

/* The context whose session has a number; NULL if none has. Under RCU. */
static inline struct pinhole_context *
pinhole_context_find(struct pinhole_device *dev, u32 session_id)
{
	struct pinhole_context *ctx;

	pinhole_for_each_context(ctx, dev)
		/* Pairs with pinhole_session_new(), which stores the number before. */
		if (smp_load_acquire(&ctx->session.open) &&
		    READ_ONCE(ctx->session.id) == session_id)
			return ctx;
	return NULL;
}

/* The context that a file is used in. */
static inline struct pinhole_context *pinhole_fh_context(struct v4l2_fh *fh)
{
	struct pinhole_device *dev = video_get_drvdata(fh->vdev);

	return pinhole_is_m2m(dev) ?
	       container_of(fh, struct pinhole_context, fh) : &dev->context;
}

/* Likewise. */
static inline struct pinhole_context *pinhole_file_context(struct file *file)
{
	return pinhole_fh_context(file->private_data);
}

/* Tells the files of a context of an event; the first may come before there is one. */
static inline void pinhole_tell(struct pinhole_context *ctx,
				const struct v4l2_event *ev)
{
	struct video_device *video = &ctx->dev->video_dev;

	if (ctx->fh.vdev)
		v4l2_event_queue_fh(&ctx->fh, ev);
	else if (!pinhole_is_m2m(ctx->dev) && video_is_registered(video))
		v4l2_event_queue(video, ev);
}

/* The stream of a file that an ioctl is for; NULL if it has none of that type. */
static inline struct pinhole_stream *pinhole_file_stream(struct file *file,
							 u32 type)
{
	return pinhole_context_stream(pinhole_file_context(file), type);
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
int pinhole_take_format(struct pinhole_stream *stream);
int pinhole_check_format(struct pinhole_stream *stream,
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
bool pinhole_has_selection(struct pinhole_context *ctx);
int pinhole_g_selection(struct file *file, void *priv,
			struct v4l2_selection *sel);
int pinhole_s_selection(struct file *file, void *priv,
			struct v4l2_selection *sel);

/* vb2.c */
int pinhole_context_queues(struct pinhole_context *ctx);

/* status.c */
int pinhole_querycap(struct file *file, void *priv, struct v4l2_capability *cap);
int pinhole_log_status(struct file *file, void *priv);

/* m2m.c */
extern const struct v4l2_ioctl_ops pinhole_m2m_ioctl_ops;
extern const struct v4l2_file_operations pinhole_m2m_fops;
void pinhole_m2m_unregister(struct pinhole_device *dev);

/* node.c */
int pinhole_register_node(struct pinhole_device *dev);

#endif /* PINHOLE_H */
