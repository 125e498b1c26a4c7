// SPDX-License-Identifier: GPL-2.0
/*
 * The device node: its ioctls, and the few that are not the card's business.
 */
#include <linux/pci.h>
#include <linux/string.h>
#include <media/v4l2-event.h>

#include "command.h"
#include "controls.h"
#include "pinhole.h"

/**
 * pinhole_querycap() - VIDIOC_QUERYCAP
 * @file: open file
 * @priv: file handle
 * @cap: capabilities
 *
 * Context: Process context.
 * Return: 0.
 */
static int pinhole_querycap(struct file *file, void *priv,
			    struct v4l2_capability *cap)
{
	struct pinhole_device *dev = video_drvdata(file);

	strscpy(cap->driver, KBUILD_MODNAME, sizeof(cap->driver));
	strscpy(cap->card, dev->card, sizeof(cap->card));
	if (dev_is_pci(dev->dma_dev))
		snprintf(cap->bus_info, sizeof(cap->bus_info), "PCI:%s",
			 dev_name(dev->dma_dev));
	else
		snprintf(cap->bus_info, sizeof(cap->bus_info), "platform:%s",
			 dev_name(&dev->vdev->dev));
	return 0;
}

/**
 * pinhole_log_status() - VIDIOC_LOG_STATUS
 * @file: open file
 * @priv: file handle
 *
 * Context: Process context; ioctl_mutex is held. Takes the device's lock, and
 * that of the controls.
 * Return: 0.
 */
static int pinhole_log_status(struct file *file, void *priv)
{
	static const char * const states[] = {
		[PINHOLE_STOPPED] = "stopped",
		[PINHOLE_STARTING] = "starting",
		[PINHOLE_STREAMING] = "streaming",
		[PINHOLE_STOPPING] = "stopping",
	};
	struct pinhole_device *dev = video_drvdata(file);
	unsigned int at_card = 0, i;
	enum pinhole_stream stream;
	unsigned long flags, ignored;
	bool failed;
	int fault;
	u32 session;

	spin_lock_irqsave(&dev->lock, flags);
	for (i = 0; i < ARRAY_SIZE(dev->slots); i++)
		at_card += !!dev->slots[i];
	stream = dev->stream;
	failed = dev->stream_failed;
	session = dev->session_id;
	fault = dev->fault;
	ignored = dev->ignored;
	spin_unlock_irqrestore(&dev->lock, flags);

	v4l2_info(&dev->v4l2_dev, "session %u, %s addresses%s\n", session,
		  dev->use_dma ? "DMA" : "guest-physical",
		  fault ? ", the card was given up" : "");
	v4l2_info(&dev->v4l2_dev, "stream %s%s, %u buffers at the card\n",
		  states[stream], failed ? " and dead" : "", at_card);
	v4l2_info(&dev->v4l2_dev, "%lu events ignored\n", ignored);
	v4l2_ctrl_handler_log_status(&dev->ctrl_handler, dev->v4l2_dev.name);
	return 0;
}

/**
 * pinhole_reqbufs() - VIDIOC_REQBUFS
 * @file: open file
 * @priv: file handle
 * @req: number and kind of buffers
 *
 * The controls that were grabbed when buffers were asked for are let go if
 * there are none in the end.
 *
 * Context: Process context; queue_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_reqbufs(struct file *file, void *priv,
			   struct v4l2_requestbuffers *req)
{
	struct pinhole_device *dev = video_drvdata(file);
	int ret = vb2_ioctl_reqbufs(file, priv, req);

	pinhole_controls_grab(dev, vb2_is_busy(&dev->queue));
	return ret;
}

/**
 * pinhole_create_bufs() - VIDIOC_CREATE_BUFS
 * @file: open file
 * @priv: file handle
 * @create: number and kind of buffers
 *
 * Context: Process context; queue_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_create_bufs(struct file *file, void *priv,
			       struct v4l2_create_buffers *create)
{
	struct pinhole_device *dev = video_drvdata(file);
	int ret = vb2_ioctl_create_bufs(file, priv, create);

	pinhole_controls_grab(dev, vb2_is_busy(&dev->queue));
	return ret;
}

/**
 * pinhole_close() - a file is closed
 * @file: file
 *
 * The buffers go with the file that has asked for them, those of read(), too.
 * The device stays until this returns.
 *
 * Context: Process context. Takes queue_mutex; may wait for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_close(struct file *file)
{
	struct pinhole_device *dev = video_drvdata(file);
	int ret = vb2_fop_release(file);

	/* Whoever had no buffers does not wait for the lock of those who have. */
	if (vb2_is_busy(&dev->queue))
		return ret;
	mutex_lock(&dev->queue_mutex);
	pinhole_controls_grab(dev, vb2_is_busy(&dev->queue));
	mutex_unlock(&dev->queue_mutex);
	return ret;
}

static const struct v4l2_ioctl_ops pinhole_ioctl_ops = {
	.vidioc_querycap = pinhole_querycap,
	.vidioc_enum_fmt_vid_cap = pinhole_enum_fmt,
	.vidioc_g_fmt_vid_cap = pinhole_g_fmt,
	.vidioc_s_fmt_vid_cap = pinhole_s_fmt,
	.vidioc_try_fmt_vid_cap = pinhole_try_fmt,
	.vidioc_g_fmt_vid_cap_mplane = pinhole_g_fmt,
	.vidioc_s_fmt_vid_cap_mplane = pinhole_s_fmt,
	.vidioc_try_fmt_vid_cap_mplane = pinhole_try_fmt,
	.vidioc_enum_framesizes = pinhole_enum_framesizes,
	.vidioc_enum_frameintervals = pinhole_enum_frameintervals,
	.vidioc_g_parm = pinhole_g_parm,
	.vidioc_s_parm = pinhole_s_parm,
	.vidioc_enum_input = pinhole_enum_input,
	.vidioc_g_input = pinhole_g_input,
	.vidioc_s_input = pinhole_s_input,
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
	.poll = pinhole_poll,
	.mmap = vb2_fop_mmap,
	.unlocked_ioctl = video_ioctl2,
};

/**
 * pinhole_register_node() - make the device node
 * @dev: device
 *
 * Ioctls that the card cannot serve are switched off, so that applications are
 * told -ENOTTY by the kernel itself, and need not try.
 *
 * Context: Process context. Waits for the card.
 * Return: 0 or a negative errno.
 */
int pinhole_register_node(struct pinhole_device *dev)
{
	struct video_device *video = &dev->video_dev;

	strscpy(video->name, dev->card, sizeof(video->name));
	video->v4l2_dev = &dev->v4l2_dev;
	video->fops = &pinhole_fops;
	video->ioctl_ops = &pinhole_ioctl_ops;
	video->lock = &dev->ioctl_mutex;
	video->queue = &dev->queue;
	video->release = video_device_release_empty;
	video->device_caps = V4L2_CAP_STREAMING | V4L2_CAP_READWRITE |
			     (pinhole_is_multiplanar(dev) ?
			      V4L2_CAP_VIDEO_CAPTURE_MPLANE :
			      V4L2_CAP_VIDEO_CAPTURE);
	if (!list_empty(&dev->controls))
		video->ctrl_handler = &dev->ctrl_handler;
	if (!pinhole_has_selection(dev)) {
		v4l2_disable_ioctl(video, VIDIOC_G_SELECTION);
		v4l2_disable_ioctl(video, VIDIOC_S_SELECTION);
		v4l2_disable_ioctl(video, VIDIOC_G_CROP);
		v4l2_disable_ioctl(video, VIDIOC_S_CROP);
		v4l2_disable_ioctl(video, VIDIOC_CROPCAP);
	}
	if (!pinhole_has_events(dev)) {
		v4l2_disable_ioctl(video, VIDIOC_SUBSCRIBE_EVENT);
		v4l2_disable_ioctl(video, VIDIOC_UNSUBSCRIBE_EVENT);
		v4l2_disable_ioctl(video, VIDIOC_DQEVENT);
	}
	video_set_drvdata(video, dev);
	return video_register_device(video, VFL_TYPE_VIDEO, -1);
}
