// SPDX-License-Identifier: GPL-2.0
/*
 * The device node: its ioctls, and the few that are not the device's business.
 */
#include <linux/pci.h>
#include <linux/string.h>
#include <media/v4l2-event.h>

#include "pinhole.h"

static int pinhole_querycap(struct file *file, void *priv,
			    struct v4l2_capability *cap)
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

static int pinhole_log_status(struct file *file, void *priv)
{
	static const char * const states[] = {
		[PINHOLE_STOPPED] = "stopped",
		[PINHOLE_STARTING] = "starting",
		[PINHOLE_STREAMING] = "streaming",
		[PINHOLE_STOPPING] = "stopping",
	};
	struct pinhole_device *dev = video_drvdata(file);
	struct pinhole_stream *stream = &dev->stream;
	unsigned int at_device = 0, i;
	enum pinhole_state state;
	bool failed;

	spin_lock_irq(&stream->lock);
	for (i = 0; i < ARRAY_SIZE(stream->slots); i++)
		at_device += !!stream->slots[i];
	state = stream->state;
	failed = stream->failed;
	spin_unlock_irq(&stream->lock);

	v4l2_info(&dev->v4l2_dev, "session %u, %s addresses%s\n",
		  READ_ONCE(dev->session.id),
		  dev->dma.use ? "DMA" : "guest-physical",
		  pinhole_fault(dev) ? ", the device was given up" : "");
	v4l2_info(&dev->v4l2_dev, "stream %s%s, %u buffers at the device\n",
		  states[state], failed ? " and dead" : "", at_device);
	v4l2_info(&dev->v4l2_dev, "%lu events ignored\n",
		  READ_ONCE(dev->events.ignored));
	v4l2_ctrl_handler_log_status(&dev->controls.handler, dev->v4l2_dev.name);
	return 0;
}

/*
 * The controls that were grabbed when buffers were asked for are let go if
 * there are none in the end.
 */
static int pinhole_reqbufs(struct file *file, void *priv,
			   struct v4l2_requestbuffers *req)
{
	struct pinhole_device *dev = video_drvdata(file);
	int ret = vb2_ioctl_reqbufs(file, priv, req);

	if (!vb2_is_busy(&dev->stream.queue))
		pinhole_region_free(dev);
	pinhole_controls_grab(dev, vb2_is_busy(&dev->stream.queue));
	return ret;
}

static int pinhole_create_bufs(struct file *file, void *priv,
			       struct v4l2_create_buffers *create)
{
	struct pinhole_device *dev = video_drvdata(file);
	int ret = vb2_ioctl_create_bufs(file, priv, create);

	pinhole_controls_grab(dev, vb2_is_busy(&dev->stream.queue));
	return ret;
}

/*
 * The buffers go with the file that has asked for them, those of read() or write(),
 * too. The device stays until this returns.
 */
static int pinhole_close(struct file *file)
{
	struct pinhole_device *dev = video_drvdata(file);
	int ret = vb2_fop_release(file);

	/* Whoever had no buffers does not wait for the lock of those who have. */
	if (vb2_is_busy(&dev->stream.queue))
		return ret;
	mutex_lock(&dev->stream.queue_mutex);
	if (!vb2_is_busy(&dev->stream.queue))
		pinhole_region_free(dev);
	pinhole_controls_grab(dev, vb2_is_busy(&dev->stream.queue));
	mutex_unlock(&dev->stream.queue_mutex);
	return ret;
}

/* Of these the V4L2 core leaves out those of the other direction (vfl_dir). */
static const struct v4l2_ioctl_ops pinhole_ioctl_ops = {
	.vidioc_querycap = pinhole_querycap,
	.vidioc_enum_fmt_vid_cap = pinhole_enum_fmt,
	.vidioc_g_fmt_vid_cap = pinhole_g_fmt,
	.vidioc_s_fmt_vid_cap = pinhole_s_fmt,
	.vidioc_try_fmt_vid_cap = pinhole_try_fmt,
	.vidioc_g_fmt_vid_cap_mplane = pinhole_g_fmt,
	.vidioc_s_fmt_vid_cap_mplane = pinhole_s_fmt,
	.vidioc_try_fmt_vid_cap_mplane = pinhole_try_fmt,
	.vidioc_enum_fmt_vid_out = pinhole_enum_fmt,
	.vidioc_g_fmt_vid_out = pinhole_g_fmt,
	.vidioc_s_fmt_vid_out = pinhole_s_fmt,
	.vidioc_try_fmt_vid_out = pinhole_try_fmt,
	.vidioc_g_fmt_vid_out_mplane = pinhole_g_fmt,
	.vidioc_s_fmt_vid_out_mplane = pinhole_s_fmt,
	.vidioc_try_fmt_vid_out_mplane = pinhole_try_fmt,
	.vidioc_enum_framesizes = pinhole_enum_framesizes,
	.vidioc_enum_frameintervals = pinhole_enum_frameintervals,
	.vidioc_g_parm = pinhole_g_parm,
	.vidioc_s_parm = pinhole_s_parm,
	.vidioc_enum_input = pinhole_enum_input,
	.vidioc_g_input = pinhole_g_input,
	.vidioc_s_input = pinhole_s_input,
	.vidioc_enum_output = pinhole_enum_output,
	.vidioc_g_output = pinhole_g_output,
	.vidioc_s_output = pinhole_s_output,
	.vidioc_g_selection = pinhole_g_selection,
	.vidioc_s_selection = pinhole_s_selection,
	.vidioc_reqbufs = pinhole_reqbufs,
	.vidioc_create_bufs = pinhole_create_bufs,
	.vidioc_prepare_buf = vb2_ioctl_prepare_buf,
	.vidioc_querybuf = vb2_ioctl_querybuf,
	.vidioc_qbuf = vb2_ioctl_qbuf,
	.vidioc_dqbuf = vb2_ioctl_dqbuf,
	.vidioc_expbuf = vb2_ioctl_expbuf,
	PINHOLE_REMOVE_BUFS_OP
	.vidioc_streamon = vb2_ioctl_streamon,
	.vidioc_streamoff = vb2_ioctl_streamoff,
	.vidioc_log_status = pinhole_log_status,
	.vidioc_subscribe_event = pinhole_subscribe_event,
	.vidioc_unsubscribe_event = v4l2_event_unsubscribe,
};

static const struct v4l2_file_operations pinhole_fops = {
	.owner = THIS_MODULE,
	.open = v4l2_fh_open,
	.release = pinhole_close,
	.read = vb2_fop_read,
	.write = vb2_fop_write,
	.poll = pinhole_poll,
	.mmap = vb2_fop_mmap,
	.unlocked_ioctl = video_ioctl2,
};

/*
 * The device makes its own buffers all at once, and keeps them until there is none;
 * nothing exports them.
 */
static void pinhole_disable_more_bufs(struct video_device *video)
{
	v4l2_disable_ioctl(video, VIDIOC_CREATE_BUFS);
	v4l2_disable_ioctl(video, VIDIOC_EXPBUF);
	PINHOLE_DISABLE_REMOVE_BUFS(video);
}

/*
 * Makes the device node. Ioctls that the device cannot serve are switched off, so
 * that applications are told -ENOTTY by the kernel itself, and need not try.
 */
int pinhole_register_node(struct pinhole_device *dev)
{
	struct video_device *video = &dev->video_dev;

	strscpy(video->name, dev->card, sizeof(video->name));
	video->v4l2_dev = &dev->v4l2_dev;
	video->fops = &pinhole_fops;
	video->ioctl_ops = &pinhole_ioctl_ops;
	video->lock = &dev->ioctl_mutex;
	video->queue = &dev->stream.queue;
	video->release = video_device_release_empty;
	video->vfl_dir = pinhole_is_output(dev) ? VFL_DIR_TX : VFL_DIR_RX;
	video->device_caps = V4L2_CAP_STREAMING | V4L2_CAP_READWRITE | dev->cap;
	if (!list_empty(&dev->controls.list))
		video->ctrl_handler = &dev->controls.handler;
	if (pinhole_is_output(dev) || !pinhole_has_selection(dev)) {
		v4l2_disable_ioctl(video, VIDIOC_G_SELECTION);
		v4l2_disable_ioctl(video, VIDIOC_S_SELECTION);
		v4l2_disable_ioctl(video, VIDIOC_G_CROP);
		v4l2_disable_ioctl(video, VIDIOC_S_CROP);
		v4l2_disable_ioctl(video, VIDIOC_CROPCAP);
	}
	if (pinhole_region_is_wanted(dev))
		pinhole_disable_more_bufs(video);
	if (!pinhole_has_events(dev)) {
		v4l2_disable_ioctl(video, VIDIOC_SUBSCRIBE_EVENT);
		v4l2_disable_ioctl(video, VIDIOC_UNSUBSCRIBE_EVENT);
		v4l2_disable_ioctl(video, VIDIOC_DQEVENT);
	}
	video_set_drvdata(video, dev);
	return video_register_device(video, VFL_TYPE_VIDEO, -1);
}
