// SPDX-License-Identifier: GPL-2.0
/*
 * The device node: ioctls, forwarded to the card.
 *
 * What the card answers goes to applications only after it was looked at:
 * sizes that are none, fractions that divide by zero and strings without end
 * are logged once an ioctl and turned into -EIO.
 */
#include <linux/pci.h>
#include <linux/string.h>

#include "pinhole.h"

/**
 * pinhole_nonsense() - the card's answer to an ioctl makes no sense
 * @dev: device
 * @cmd: VIDIOC_*
 *
 * Context: Any.
 * Return: -EIO.
 */
static int pinhole_nonsense(struct pinhole_device *dev, unsigned int cmd)
{
	if (!test_and_set_bit(_IOC_NR(cmd), dev->complaints))
		dev_err(&dev->vdev->dev,
			"the card's answer to ioctl %u makes no sense\n",
			_IOC_NR(cmd));
	return -EIO;
}

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
 * pinhole_enum_fmt() - VIDIOC_ENUM_FMT
 * @file: open file
 * @priv: file handle
 * @f: format description
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_enum_fmt(struct file *file, void *priv,
			    struct v4l2_fmtdesc *f)
{
	struct pinhole_device *dev = video_drvdata(file);
	u32 index = f->index;
	int ret;

	ret = pinhole_ioctl(dev, VIDIOC_ENUM_FMT, f);
	if (ret)
		return ret;
	if (f->type != V4L2_BUF_TYPE_VIDEO_CAPTURE || f->index != index ||
	    !f->pixelformat)
		return pinhole_nonsense(dev, VIDIOC_ENUM_FMT);
	f->description[sizeof(f->description) - 1] = '\0';
	return 0;
}

/**
 * pinhole_forward_format() - forward G_FMT, S_FMT or TRY_FMT
 * @dev: device
 * @cmd: VIDIOC_*
 * @f: format
 *
 * Context: Process context. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_forward_format(struct pinhole_device *dev, unsigned int cmd,
				  struct v4l2_format *f)
{
	struct v4l2_pix_format *pix = &f->fmt.pix;
	int ret;

	ret = pinhole_ioctl(dev, cmd, f);
	if (ret)
		return ret;
	if (f->type != V4L2_BUF_TYPE_VIDEO_CAPTURE || !pix->pixelformat ||
	    !pix->width || !pix->height || !pix->sizeimage ||
	    pix->width > U16_MAX || pix->height > U16_MAX ||
	    pix->sizeimage > PINHOLE_MAX_SIZEIMAGE ||
	    pix->bytesperline > pix->sizeimage ||
	    pix->field != V4L2_FIELD_NONE)
		return pinhole_nonsense(dev, cmd);
	return 0;
}

/**
 * pinhole_get_format() - ask the card for its format
 * @dev: device
 * @f: format, its type set
 *
 * Context: Process context. Waits for the card.
 * Return: 0 or a negative errno.
 */
int pinhole_get_format(struct pinhole_device *dev, struct v4l2_format *f)
{
	return pinhole_forward_format(dev, VIDIOC_G_FMT, f);
}

/**
 * pinhole_g_fmt() - VIDIOC_G_FMT
 * @file: open file
 * @priv: file handle
 * @f: format
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_g_fmt(struct file *file, void *priv, struct v4l2_format *f)
{
	return pinhole_get_format(video_drvdata(file), f);
}

/**
 * pinhole_try_fmt() - VIDIOC_TRY_FMT
 * @file: open file
 * @priv: file handle
 * @f: format
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_try_fmt(struct file *file, void *priv, struct v4l2_format *f)
{
	return pinhole_forward_format(video_drvdata(file), VIDIOC_TRY_FMT, f);
}

/**
 * pinhole_s_fmt() - VIDIOC_S_FMT
 * @file: open file
 * @priv: file handle
 * @f: format
 *
 * queue_mutex is held over the whole of it, so that no buffers of the old size
 * can be allocated meanwhile.
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0, -EBUSY if there are buffers, or another negative errno.
 */
static int pinhole_s_fmt(struct file *file, void *priv, struct v4l2_format *f)
{
	struct pinhole_device *dev = video_drvdata(file);
	int ret = -EBUSY;

	mutex_lock(&dev->queue_mutex);
	if (!vb2_is_busy(&dev->queue))
		ret = pinhole_forward_format(dev, VIDIOC_S_FMT, f);
	mutex_unlock(&dev->queue_mutex);
	return ret;
}

/**
 * pinhole_enum_framesizes() - VIDIOC_ENUM_FRAMESIZES
 * @file: open file
 * @priv: file handle
 * @fsize: frame size
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_enum_framesizes(struct file *file, void *priv,
				   struct v4l2_frmsizeenum *fsize)
{
	struct pinhole_device *dev = video_drvdata(file);
	struct v4l2_frmsize_stepwise *s = &fsize->stepwise;
	u32 index = fsize->index, format = fsize->pixel_format;
	bool good = false;
	int ret;

	ret = pinhole_ioctl(dev, VIDIOC_ENUM_FRAMESIZES, fsize);
	if (ret)
		return ret;
	switch (fsize->type) {
	case V4L2_FRMSIZE_TYPE_DISCRETE:
		good = fsize->discrete.width && fsize->discrete.height;
		break;
	case V4L2_FRMSIZE_TYPE_CONTINUOUS:
	case V4L2_FRMSIZE_TYPE_STEPWISE:
		good = s->min_width && s->min_width <= s->max_width &&
		       s->min_height && s->min_height <= s->max_height &&
		       s->step_width && s->step_height;
		break;
	}
	if (!good || fsize->index != index || fsize->pixel_format != format)
		return pinhole_nonsense(dev, VIDIOC_ENUM_FRAMESIZES);
	return 0;
}

/**
 * pinhole_fraction_good() - whether a time per frame makes sense
 * @f: fraction, in seconds
 *
 * Context: Any.
 * Return: True if it is more than 0 and less than infinite.
 */
static bool pinhole_fraction_good(const struct v4l2_fract *f)
{
	return f->numerator && f->denominator;
}

/**
 * pinhole_enum_frameintervals() - VIDIOC_ENUM_FRAMEINTERVALS
 * @file: open file
 * @priv: file handle
 * @fival: frame interval
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_enum_frameintervals(struct file *file, void *priv,
				       struct v4l2_frmivalenum *fival)
{
	struct pinhole_device *dev = video_drvdata(file);
	struct v4l2_frmivalenum asked = *fival;
	bool good = false;
	int ret;

	ret = pinhole_ioctl(dev, VIDIOC_ENUM_FRAMEINTERVALS, fival);
	if (ret)
		return ret;
	switch (fival->type) {
	case V4L2_FRMIVAL_TYPE_DISCRETE:
		good = pinhole_fraction_good(&fival->discrete);
		break;
	case V4L2_FRMIVAL_TYPE_CONTINUOUS:
	case V4L2_FRMIVAL_TYPE_STEPWISE:
		good = pinhole_fraction_good(&fival->stepwise.min) &&
		       pinhole_fraction_good(&fival->stepwise.max) &&
		       pinhole_fraction_good(&fival->stepwise.step);
		break;
	}
	if (!good || fival->index != asked.index ||
	    fival->pixel_format != asked.pixel_format ||
	    fival->width != asked.width || fival->height != asked.height)
		return pinhole_nonsense(dev, VIDIOC_ENUM_FRAMEINTERVALS);
	return 0;
}

/**
 * pinhole_forward_parm() - forward G_PARM or S_PARM
 * @file: open file
 * @cmd: VIDIOC_*
 * @parm: streaming parameters
 *
 * The number of buffers for read() is the driver's, not the card's.
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_forward_parm(struct file *file, unsigned int cmd,
				struct v4l2_streamparm *parm)
{
	struct pinhole_device *dev = video_drvdata(file);
	int ret;

	if (parm->type != V4L2_BUF_TYPE_VIDEO_CAPTURE)
		return -EINVAL;
	ret = pinhole_ioctl(dev, cmd, parm);
	if (ret)
		return ret;
	if (parm->type != V4L2_BUF_TYPE_VIDEO_CAPTURE ||
	    !pinhole_fraction_good(&parm->parm.capture.timeperframe))
		return pinhole_nonsense(dev, cmd);
	parm->parm.capture.readbuffers = 2;
	return 0;
}

/**
 * pinhole_g_parm() - VIDIOC_G_PARM
 * @file: open file
 * @priv: file handle
 * @parm: streaming parameters
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_g_parm(struct file *file, void *priv,
			  struct v4l2_streamparm *parm)
{
	return pinhole_forward_parm(file, VIDIOC_G_PARM, parm);
}

/**
 * pinhole_s_parm() - VIDIOC_S_PARM
 * @file: open file
 * @priv: file handle
 * @parm: streaming parameters
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_s_parm(struct file *file, void *priv,
			  struct v4l2_streamparm *parm)
{
	return pinhole_forward_parm(file, VIDIOC_S_PARM, parm);
}

/**
 * pinhole_enum_input() - VIDIOC_ENUMINPUT
 * @file: open file
 * @priv: file handle
 * @input: input
 *
 * The driver has no tuners, audio inputs, standards or timings to go with it.
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_enum_input(struct file *file, void *priv,
			      struct v4l2_input *input)
{
	struct pinhole_device *dev = video_drvdata(file);
	u32 index = input->index;
	int ret;

	ret = pinhole_ioctl(dev, VIDIOC_ENUMINPUT, input);
	if (ret)
		return ret;
	input->name[sizeof(input->name) - 1] = '\0';
	if (input->index != index || !input->name[0])
		return pinhole_nonsense(dev, VIDIOC_ENUMINPUT);
	input->type = V4L2_INPUT_TYPE_CAMERA;
	input->audioset = 0;
	input->tuner = 0;
	input->std = 0;
	input->capabilities = 0;
	return 0;
}

/**
 * pinhole_g_input() - VIDIOC_G_INPUT
 * @file: open file
 * @priv: file handle
 * @index: where the number of the input is stored
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_g_input(struct file *file, void *priv, unsigned int *index)
{
	return pinhole_ioctl(video_drvdata(file), VIDIOC_G_INPUT, index);
}

/**
 * pinhole_s_input() - VIDIOC_S_INPUT
 * @file: open file
 * @priv: file handle
 * @index: number of the input
 *
 * Another input may have another format, so that the same holds as for S_FMT.
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0, -EBUSY if there are buffers, or another negative errno.
 */
static int pinhole_s_input(struct file *file, void *priv, unsigned int index)
{
	struct pinhole_device *dev = video_drvdata(file);
	int ret = -EBUSY;

	mutex_lock(&dev->queue_mutex);
	if (!vb2_is_busy(&dev->queue))
		ret = pinhole_ioctl(dev, VIDIOC_S_INPUT, &index);
	mutex_unlock(&dev->queue_mutex);
	return ret;
}

/**
 * pinhole_log_status() - VIDIOC_LOG_STATUS
 * @file: open file
 * @priv: file handle
 *
 * Context: Process context; ioctl_mutex is held. Takes the device's lock.
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
	unsigned long flags;
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
	spin_unlock_irqrestore(&dev->lock, flags);

	v4l2_info(&dev->v4l2_dev, "session %u, %s addresses%s\n", session,
		  dev->use_dma ? "DMA" : "guest-physical",
		  fault ? ", the card was given up" : "");
	v4l2_info(&dev->v4l2_dev, "stream %s%s, %u buffers at the card\n",
		  states[stream], failed ? " and dead" : "", at_card);
	return 0;
}

const struct v4l2_ioctl_ops pinhole_ioctl_ops = {
	.vidioc_querycap = pinhole_querycap,
	.vidioc_enum_fmt_vid_cap = pinhole_enum_fmt,
	.vidioc_g_fmt_vid_cap = pinhole_g_fmt,
	.vidioc_s_fmt_vid_cap = pinhole_s_fmt,
	.vidioc_try_fmt_vid_cap = pinhole_try_fmt,
	.vidioc_enum_framesizes = pinhole_enum_framesizes,
	.vidioc_enum_frameintervals = pinhole_enum_frameintervals,
	.vidioc_g_parm = pinhole_g_parm,
	.vidioc_s_parm = pinhole_s_parm,
	.vidioc_enum_input = pinhole_enum_input,
	.vidioc_g_input = pinhole_g_input,
	.vidioc_s_input = pinhole_s_input,
	.vidioc_reqbufs = vb2_ioctl_reqbufs,
	.vidioc_create_bufs = vb2_ioctl_create_bufs,
	.vidioc_prepare_buf = vb2_ioctl_prepare_buf,
	.vidioc_querybuf = vb2_ioctl_querybuf,
	.vidioc_qbuf = vb2_ioctl_qbuf,
	.vidioc_dqbuf = vb2_ioctl_dqbuf,
	.vidioc_expbuf = vb2_ioctl_expbuf,
	PINHOLE_REMOVE_BUFS_OP
	.vidioc_streamon = vb2_ioctl_streamon,
	.vidioc_streamoff = vb2_ioctl_streamoff,
	.vidioc_log_status = pinhole_log_status,
};

const struct v4l2_file_operations pinhole_fops = {
	.owner = THIS_MODULE,
	.open = v4l2_fh_open,
	.release = vb2_fop_release,
	.read = vb2_fop_read,
	.poll = vb2_fop_poll,
	.mmap = vb2_fop_mmap,
	.unlocked_ioctl = video_ioctl2,
};
