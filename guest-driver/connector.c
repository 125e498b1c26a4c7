// SPDX-License-Identifier: GPL-2.0
/*
 * Where the pictures come from, or go to: inputs of a device that captures,
 * outputs of one that shows.
 */
#include "pinhole.h"

/*
 * Another input or output may have another format, so that the same holds as for
 * S_FMT. The present one may be chosen at any time.
 */
static int pinhole_choose(struct pinhole_context *ctx, unsigned int get,
			  unsigned int set, u32 index)
{
	u32 present;
	int ret;

	if (mutex_lock_interruptible(&ctx->queue_mutex))
		return -ERESTARTSYS;
	if (pinhole_context_is_busy(ctx)) {
		ret = pinhole_ioctl(ctx, get, &present);
		if (!ret && present != index)
			ret = -EBUSY;
	} else {
		ret = pinhole_ioctl(ctx, set, &index);
	}
	mutex_unlock(&ctx->queue_mutex);
	return ret;
}

/* The driver has no tuners, audio inputs, standards or timings to go with it. */
int pinhole_enum_input(struct file *file, void *priv, struct v4l2_input *input)
{
	struct pinhole_context *ctx = pinhole_file_context(file);
	u32 index = input->index;
	int ret;

	ret = pinhole_ioctl(ctx, VIDIOC_ENUMINPUT, input);
	if (ret)
		return ret;
	input->name[sizeof(input->name) - 1] = '\0';
	if (input->index != index || !input->name[0])
		return pinhole_nonsense(ctx->dev, VIDIOC_ENUMINPUT);
	input->type = V4L2_INPUT_TYPE_CAMERA;
	input->audioset = 0;
	input->tuner = 0;
	input->std = 0;
	input->capabilities = 0;
	return 0;
}

int pinhole_g_input(struct file *file, void *priv, unsigned int *index)
{
	return pinhole_ioctl(pinhole_file_context(file), VIDIOC_G_INPUT, index);
}

int pinhole_s_input(struct file *file, void *priv, unsigned int index)
{
	return pinhole_choose(pinhole_file_context(file), VIDIOC_G_INPUT,
			      VIDIOC_S_INPUT, index);
}

/* Nor modulators or audio outputs. */
int pinhole_enum_output(struct file *file, void *priv,
			struct v4l2_output *output)
{
	struct pinhole_context *ctx = pinhole_file_context(file);
	u32 index = output->index;
	int ret;

	ret = pinhole_ioctl(ctx, VIDIOC_ENUMOUTPUT, output);
	if (ret)
		return ret;
	output->name[sizeof(output->name) - 1] = '\0';
	if (output->index != index || !output->name[0])
		return pinhole_nonsense(ctx->dev, VIDIOC_ENUMOUTPUT);
	output->type = V4L2_OUTPUT_TYPE_ANALOG;
	output->audioset = 0;
	output->modulator = 0;
	output->std = 0;
	output->capabilities = 0;
	return 0;
}

int pinhole_g_output(struct file *file, void *priv, unsigned int *index)
{
	return pinhole_ioctl(pinhole_file_context(file), VIDIOC_G_OUTPUT, index);
}

int pinhole_s_output(struct file *file, void *priv, unsigned int index)
{
	return pinhole_choose(pinhole_file_context(file), VIDIOC_G_OUTPUT,
			      VIDIOC_S_OUTPUT, index);
}
