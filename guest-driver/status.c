// SPDX-License-Identifier: GPL-2.0
/*
 * What the driver says of the device, and of what it does now.
 */
#include <linux/pci.h>
#include <linux/string.h>

#include "pinhole.h"

int pinhole_querycap(struct file *file, void *priv, struct v4l2_capability *cap)
{
	struct pinhole_device *dev = video_drvdata(file);

	strscpy(cap->driver, KBUILD_MODNAME, sizeof(cap->driver));
	strscpy(cap->card, dev->card, sizeof(cap->card));
	if (dev_is_pci(dev->dma.dev))
		snprintf(cap->bus_info, sizeof(cap->bus_info), "PCI:%s",
			 dev_name(dev->dma.dev));
	else
		snprintf(cap->bus_info, sizeof(cap->bus_info), "platform:%s",
			 dev_name(&dev->vdev->dev));
	return 0;
}

static void pinhole_log_stream(struct pinhole_stream *stream)
{
	static const char * const states[] = {
		[PINHOLE_STOPPED] = "stopped",
		[PINHOLE_STARTING] = "starting",
		[PINHOLE_STREAMING] = "streaming",
		[PINHOLE_STOPPING] = "stopping",
	};
	unsigned int at_device = 0, i;
	enum pinhole_state state;
	bool failed;

	spin_lock_irq(&stream->lock);
	for (i = 0; i < ARRAY_SIZE(stream->slots); i++)
		at_device += !!stream->slots[i];
	state = stream->state;
	failed = stream->failed;
	spin_unlock_irq(&stream->lock);

	v4l2_info(&stream->dev->v4l2_dev,
		  "stream %s%s, %u buffers at the device\n",
		  states[state], failed ? " and dead" : "", at_device);
}

int pinhole_log_status(struct file *file, void *priv)
{
	struct pinhole_context *ctx = pinhole_file_context(file);
	struct pinhole_device *dev = ctx->dev;
	struct pinhole_stream *stream;

	v4l2_info(&dev->v4l2_dev, "session %u, %s addresses%s\n",
		  READ_ONCE(ctx->session.id),
		  dev->dma.use ? "DMA" : "guest-physical",
		  pinhole_fault(dev) ? ", the device was given up" : "");
	pinhole_for_each_stream(stream, ctx)
		pinhole_log_stream(stream);
	v4l2_info(&dev->v4l2_dev, "%lu events ignored\n",
		  READ_ONCE(dev->events.ignored));
	v4l2_ctrl_handler_log_status(&ctx->controls.handler, dev->v4l2_dev.name);
	return 0;
}
