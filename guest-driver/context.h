/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A context: a session with the device, and all that belongs to it.
 *
 * A device that captures or shows has one for all files. Of a device from memory to
 * memory each open file has one of its own, which nothing of another is seen in.
 */
#ifndef PINHOLE_CONTEXT_H
#define PINHOLE_CONTEXT_H

#include <linux/mutex.h>
#include <linux/rculist.h>
#include <media/v4l2-fh.h>

#include "controls.h"
#include "session.h"
#include "stream.h"

struct pinhole_device;

/**
 * struct pinhole_context - a context
 * @node: entry in the device's list of contexts
 * @dev: the device
 * @session: the session
 * @queue_mutex: videobuf2's lock: the buffers of all streams, and their formats while
 *		 there are any
 * @streams: the streams: one, or those of OUTPUT and CAPTURE
 * @num_streams: number of @streams; fixed by the probe
 * @controls: the controls
 * @subscriptions: which events the device has
 * @fh: the file that has the context, of a device from memory to memory
 */
struct pinhole_context {
	struct list_head node;
	struct pinhole_device *dev;
	struct pinhole_session session;
	struct mutex queue_mutex; /* the buffer queues and the formats */
	struct pinhole_stream streams[2];
	unsigned int num_streams;
	struct pinhole_controls controls;
	struct pinhole_subscriptions subscriptions;
	struct v4l2_fh fh;
};

/**
 * struct pinhole_contexts - the contexts that there are
 * @mutex: held by who changes the list, or sleeps while he walks it
 * @list: the contexts, for readers under RCU
 */
struct pinhole_contexts {
	struct mutex mutex; /* the list of contexts */
	struct list_head list;
};

/* Walks the contexts of a device under RCU. */
#define pinhole_for_each_context(ctx, dev) \
	list_for_each_entry_rcu(ctx, &(dev)->contexts.list, node)

/* Walks the streams of a context. */
#define pinhole_for_each_stream(stream, ctx) \
	for ((stream) = (ctx)->streams; \
	     (stream) < (ctx)->streams + (ctx)->num_streams; (stream)++)

/* The stream of a buffer type, as the V4L2 core or the device names it; or NULL. */
static inline struct pinhole_stream *
pinhole_context_stream(struct pinhole_context *ctx, u32 type)
{
	struct pinhole_stream *stream;

	pinhole_for_each_stream(stream, ctx)
		if (stream->queue.type == type)
			return stream;
	return NULL;
}

/* Whether there are buffers: the formats, and what they depend on, stay. */
static inline bool pinhole_context_is_busy(struct pinhole_context *ctx)
{
	struct pinhole_stream *stream;

	pinhole_for_each_stream(stream, ctx)
		if (vb2_is_busy(&stream->queue))
			return true;
	return false;
}

/* context.c */
void pinhole_context_init(struct pinhole_context *ctx,
			  struct pinhole_device *dev);
int pinhole_context_open(struct pinhole_context *ctx);
void pinhole_context_close(struct pinhole_context *ctx);
void pinhole_context_exit(struct pinhole_context *ctx);

#endif /* PINHOLE_CONTEXT_H */
