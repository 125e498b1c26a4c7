// SPDX-License-Identifier: GPL-2.0
/*
 * Inputs, the part of their picture that is captured, and at what rate.
 */
#include "command.h"
#include "pinhole.h"

/**
 * pinhole_forward_parm() - forward G_PARM or S_PARM
 * @file: open file
 * @cmd: VIDIOC_*
 * @parm: streaming parameters
 *
 * The number of buffers for read() is the driver's, not the card's. Either
 * type of capture will do, as for v4l2_g_parm_cap(): v4l2-ctl asks for the
 * single-planar one always.
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_forward_parm(struct file *file, unsigned int cmd,
				struct v4l2_streamparm *parm)
{
	struct pinhole_device *dev = video_drvdata(file);
	const u32 asked = parm->type;
	int ret;

	if (asked != V4L2_BUF_TYPE_VIDEO_CAPTURE &&
	    asked != V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE)
		return -EINVAL;
	parm->type = dev->queue.type;
	ret = pinhole_ioctl(dev, cmd, parm);
	if (ret)
		return ret;
	if (parm->type != dev->queue.type ||
	    !pinhole_fraction_good(&parm->parm.capture.timeperframe))
		return pinhole_nonsense(dev, cmd);
	parm->type = asked;
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
int pinhole_g_parm(struct file *file, void *priv, struct v4l2_streamparm *parm)
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
int pinhole_s_parm(struct file *file, void *priv, struct v4l2_streamparm *parm)
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
int pinhole_enum_input(struct file *file, void *priv, struct v4l2_input *input)
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
int pinhole_g_input(struct file *file, void *priv, unsigned int *index)
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
 * The present one may be chosen at any time.
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0, -EBUSY if there are buffers, or another negative errno.
 */
int pinhole_s_input(struct file *file, void *priv, unsigned int index)
{
	struct pinhole_device *dev = video_drvdata(file);
	u32 present;
	int ret;

	if (mutex_lock_interruptible(&dev->queue_mutex))
		return -ERESTARTSYS;
	if (vb2_is_busy(&dev->queue)) {
		ret = pinhole_ioctl(dev, VIDIOC_G_INPUT, &present);
		if (!ret && present != index)
			ret = -EBUSY;
	} else {
		ret = pinhole_ioctl(dev, VIDIOC_S_INPUT, &index);
	}
	mutex_unlock(&dev->queue_mutex);
	return ret;
}

/**
 * pinhole_forward_selection() - forward G_SELECTION or S_SELECTION
 * @dev: device
 * @cmd: VIDIOC_*
 * @sel: selection
 *
 * The V4L2 core has turned the multi-planar buffer type into the other one.
 *
 * Context: Process context. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_forward_selection(struct pinhole_device *dev,
				     unsigned int cmd,
				     struct v4l2_selection *sel)
{
	u32 target = sel->target;
	int ret;

	if (sel->type != V4L2_BUF_TYPE_VIDEO_CAPTURE)
		return -EINVAL;
	ret = pinhole_ioctl(dev, cmd, sel);
	if (ret)
		return ret;
	if (sel->type != V4L2_BUF_TYPE_VIDEO_CAPTURE || sel->target != target ||
	    !sel->r.width || sel->r.width > U16_MAX ||
	    !sel->r.height || sel->r.height > U16_MAX ||
	    sel->r.left < S16_MIN || sel->r.left > S16_MAX ||
	    sel->r.top < S16_MIN || sel->r.top > S16_MAX)
		return pinhole_nonsense(dev, cmd);
	return 0;
}

/**
 * pinhole_has_selection() - whether the card can select parts of a picture
 * @dev: device
 *
 * Context: Process context. Waits for the card.
 * Return: False if it does not know the ioctl.
 */
bool pinhole_has_selection(struct pinhole_device *dev)
{
	struct v4l2_selection sel = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.target = V4L2_SEL_TGT_CROP_BOUNDS,
	};

	return pinhole_forward_selection(dev, VIDIOC_G_SELECTION,
					 &sel) != -ENOTTY;
}

/**
 * pinhole_g_selection() - VIDIOC_G_SELECTION
 * @file: open file
 * @priv: file handle
 * @sel: selection
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
int pinhole_g_selection(struct file *file, void *priv,
			struct v4l2_selection *sel)
{
	return pinhole_forward_selection(video_drvdata(file),
					 VIDIOC_G_SELECTION, sel);
}

/**
 * pinhole_s_selection() - VIDIOC_S_SELECTION
 * @file: open file
 * @priv: file handle
 * @sel: selection
 *
 * Another part of the picture may have another size: as for S_FMT.
 *
 * Context: Process context; ioctl_mutex is held. Waits for the card.
 * Return: 0, -EBUSY if there are buffers, or another negative errno.
 */
int pinhole_s_selection(struct file *file, void *priv,
			struct v4l2_selection *sel)
{
	struct pinhole_device *dev = video_drvdata(file);
	int ret = -EBUSY;

	if (mutex_lock_interruptible(&dev->queue_mutex))
		return -ERESTARTSYS;
	if (!vb2_is_busy(&dev->queue))
		ret = pinhole_forward_selection(dev, VIDIOC_S_SELECTION, sel);
	mutex_unlock(&dev->queue_mutex);
	return ret;
}
