// SPDX-License-Identifier: GPL-2.0
/*
 * Contexts: how one comes to be, and how it goes.
 */
#include "pinhole.h"

/* Prepares a context of a device whose context of the probe it is, or is like. */
void pinhole_context_init(struct pinhole_context *ctx,
			  struct pinhole_device *dev)
{
	const struct pinhole_context *probe = &dev->context;
	unsigned int i;

	ctx->dev = dev;
	mutex_init(&ctx->queue_mutex);
	pinhole_session_init(ctx);
	for (i = 0; i < ARRAY_SIZE(ctx->streams); i++) {
		pinhole_stream_init(&ctx->streams[i], ctx);
		ctx->streams[i].queue.type = probe->streams[i].queue.type;
	}
	ctx->num_streams = probe->num_streams;
	pinhole_controls_init(ctx);
	INIT_LIST_HEAD(&ctx->node);
}

/**
 * pinhole_context_open() - have a context opened by the device
 * @ctx: context, whose queues are there
 *
 * The context is in the list from here on: who finds it may stop its queues.
 *
 * Context: Process context. Waits for the device.
 * Return: 0 or a negative errno; pinhole_context_close() undoes either.
 */
int pinhole_context_open(struct pinhole_context *ctx)
{
	struct pinhole_device *dev = ctx->dev;
	int ret;

	mutex_lock(&dev->contexts.mutex);
	list_add_tail_rcu(&ctx->node, &dev->contexts.list);
	mutex_unlock(&dev->contexts.mutex);

	ret = pinhole_session_open(ctx);
	return ret ? ret : pinhole_controls_probe(ctx);
}

/*
 * Closes the session of a context, whose streams are stopped, for good. What still
 * comes of it finds the context no more.
 */
void pinhole_context_close(struct pinhole_context *ctx)
{
	pinhole_session_end(ctx);
	cancel_delayed_work_sync(&ctx->controls.work);
}

/* Nobody uses the context any more; its session is closed, or the device was reset. */
void pinhole_context_exit(struct pinhole_context *ctx)
{
	unsigned int i;

	mutex_lock(&ctx->dev->contexts.mutex);
	if (!list_empty(&ctx->node))
		list_del_rcu(&ctx->node);
	mutex_unlock(&ctx->dev->contexts.mutex);
	synchronize_rcu();

	pinhole_controls_exit(ctx);
	for (i = 0; i < ARRAY_SIZE(ctx->streams); i++)
		pinhole_stream_exit(&ctx->streams[i]);
	pinhole_session_exit(ctx);
	mutex_destroy(&ctx->queue_mutex);
}
