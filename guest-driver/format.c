// SPDX-License-Identifier: GPL-2.0
/*
 * Formats, frame sizes and frame intervals.
 */
#include <linux/string.h>

#include "pinhole.h"

int pinhole_enum_fmt(struct file *file, void *priv, struct v4l2_fmtdesc *f)
{
	struct pinhole_stream *stream = pinhole_file_stream(file, f->type);
	u32 index = f->index;
	int ret;

	if (!stream)
		return -EINVAL;
	ret = pinhole_ioctl(stream->ctx, VIDIOC_ENUM_FMT, f);
	if (ret)
		return ret;
	if (f->type != stream->queue.type || f->index != index || !f->pixelformat)
		return pinhole_nonsense(stream->dev, VIDIOC_ENUM_FMT);
	f->description[sizeof(f->description) - 1] = '\0';
	/* The V4L2 core warns of a format that has no description at all. */
	if (!f->description[0])
		strscpy(f->description, "Unknown", sizeof(f->description));
	return 0;
}

/* Whether a single-planar format makes sense. */
static bool pinhole_pix_good(const struct v4l2_pix_format *pix)
{
	return pix->pixelformat && pix->field == V4L2_FIELD_NONE &&
	       pix->width && pix->width <= U16_MAX &&
	       pix->height && pix->height <= U16_MAX &&
	       pix->sizeimage && pix->sizeimage <= PINHOLE_MAX_SIZEIMAGE &&
	       pix->bytesperline <= pix->sizeimage;
}

/* Whether a multi-planar format makes sense. */
static bool pinhole_pix_mp_good(const struct v4l2_pix_format_mplane *pix)
{
	unsigned int i;

	if (!pix->pixelformat || pix->field != V4L2_FIELD_NONE ||
	    !pix->width || pix->width > U16_MAX ||
	    !pix->height || pix->height > U16_MAX ||
	    !pix->num_planes || pix->num_planes > VIDEO_MAX_PLANES)
		return false;

	for (i = 0; i < pix->num_planes; i++) {
		const struct v4l2_plane_pix_format *plane = &pix->plane_fmt[i];

		if (!plane->sizeimage ||
		    plane->sizeimage > PINHOLE_MAX_SIZEIMAGE ||
		    plane->bytesperline > plane->sizeimage)
			return false;
	}
	return true;
}

/* Whether a format makes sense. */
static bool pinhole_format_good(const struct pinhole_stream *stream,
				const struct v4l2_format *f)
{
	if (f->type != stream->queue.type)
		return false;
	return pinhole_is_multiplanar(stream) ?
	       pinhole_pix_mp_good(&f->fmt.pix_mp) :
	       pinhole_pix_good(&f->fmt.pix);
}

/* Whether two formats lay a frame out in the same way. */
static bool pinhole_format_same(const struct pinhole_stream *stream,
				const struct v4l2_format *a,
				const struct v4l2_format *b)
{
	const struct v4l2_pix_format_mplane *am = &a->fmt.pix_mp;
	const struct v4l2_pix_format_mplane *bm = &b->fmt.pix_mp;
	const struct v4l2_pix_format *as = &a->fmt.pix, *bs = &b->fmt.pix;
	unsigned int i;

	if (!pinhole_is_multiplanar(stream))
		return as->pixelformat == bs->pixelformat &&
		       as->width == bs->width && as->height == bs->height &&
		       as->bytesperline == bs->bytesperline &&
		       as->sizeimage == bs->sizeimage;

	if (am->pixelformat != bm->pixelformat || am->width != bm->width ||
	    am->height != bm->height || am->num_planes != bm->num_planes)
		return false;
	for (i = 0; i < am->num_planes; i++)
		if (am->plane_fmt[i].bytesperline !=
		    bm->plane_fmt[i].bytesperline ||
		    am->plane_fmt[i].sizeimage != bm->plane_fmt[i].sizeimage)
			return false;
	return true;
}

/* Forwards G_FMT, S_FMT or TRY_FMT. */
static int pinhole_forward_format(struct pinhole_stream *stream,
				  unsigned int cmd, struct v4l2_format *f)
{
	int ret = pinhole_ioctl(stream->ctx, cmd, f);

	if (ret)
		return ret;
	return pinhole_format_good(stream, f) ? 0 :
	       pinhole_nonsense(stream->dev, cmd);
}

/* Asks the device for the format to make the first buffers for. */
int pinhole_take_format(struct pinhole_stream *stream)
{
	struct v4l2_format f = { .type = stream->queue.type };
	unsigned int i;
	int ret;

	lockdep_assert_held(&stream->ctx->queue_mutex);
	ret = pinhole_forward_format(stream, VIDIOC_G_FMT, &f);
	if (ret)
		return ret;

	stream->format = f;
	if (!pinhole_is_multiplanar(stream)) {
		stream->num_planes = 1;
		stream->plane_sizes[0] = f.fmt.pix.sizeimage;
		return 0;
	}
	stream->num_planes = f.fmt.pix_mp.num_planes;
	for (i = 0; i < stream->num_planes; i++)
		stream->plane_sizes[i] = f.fmt.pix_mp.plane_fmt[i].sizeimage;
	return 0;
}

/**
 * pinhole_check_format() - whether a format is still the one of the buffers
 * @stream: stream
 * @f: the device's format now, and until the stream ends
 *
 * The buffers are not known to the device until the stream begins, and its
 * source, on which the format may depend, is not the guest's.
 *
 * Return: 0, -EPIPE if it is another, or -EIO if it makes no sense.
 */
int pinhole_check_format(struct pinhole_stream *stream,
			 const struct v4l2_format *f)
{
	lockdep_assert_held(&stream->ctx->queue_mutex);
	if (!pinhole_format_good(stream, f))
		return pinhole_nonsense(stream->dev, VIDIOC_G_FMT);
	if (pinhole_format_same(stream, &stream->format, f))
		return 0;
	dev_warn_ratelimited(&stream->dev->vdev->dev,
			     "the format has changed since the buffers were allocated\n");
	return -EPIPE;
}

int pinhole_g_fmt(struct file *file, void *priv, struct v4l2_format *f)
{
	struct pinhole_stream *stream = pinhole_file_stream(file, f->type);

	return stream ? pinhole_forward_format(stream, VIDIOC_G_FMT, f) : -EINVAL;
}

int pinhole_try_fmt(struct file *file, void *priv, struct v4l2_format *f)
{
	struct pinhole_stream *stream = pinhole_file_stream(file, f->type);

	return stream ? pinhole_forward_format(stream, VIDIOC_TRY_FMT, f) : -EINVAL;
}

/* Gives a stream the format that its buffers are made for again, if it has another. */
static int pinhole_keep_format(struct pinhole_stream *stream)
{
	struct v4l2_format f = { .type = stream->queue.type };
	int ret = pinhole_forward_format(stream, VIDIOC_G_FMT, &f);

	if (ret || pinhole_format_same(stream, &stream->format, &f))
		return ret;
	f = stream->format;
	return pinhole_forward_format(stream, VIDIOC_S_FMT, &f);
}

/*
 * The device knows of buffers while their stream runs, and may have given another
 * stream of the context a format that follows this one's. If there are buffers for that
 * one its format stays.
 */
static int pinhole_keep_others(const struct pinhole_stream *changed)
{
	struct pinhole_stream *stream;
	int ret = 0;

	pinhole_for_each_stream(stream, changed->ctx)
		if (!ret && stream != changed && vb2_is_busy(&stream->queue))
			ret = pinhole_keep_format(stream);
	return ret;
}

/*
 * The lock is held over the whole of it, so that no buffers of the old size
 * can be allocated meanwhile.
 */
int pinhole_s_fmt(struct file *file, void *priv, struct v4l2_format *f)
{
	struct pinhole_stream *stream = pinhole_file_stream(file, f->type);
	int ret = -EBUSY;

	if (!stream)
		return -EINVAL;
	if (mutex_lock_interruptible(&stream->ctx->queue_mutex))
		return -ERESTARTSYS;
	if (!vb2_is_busy(&stream->queue))
		ret = pinhole_forward_format(stream, VIDIOC_S_FMT, f);
	if (!ret)
		ret = pinhole_keep_others(stream);
	if (!ret && pinhole_context_is_busy(stream->ctx)) {
		/* What was put back may have changed this one. */
		*f = (struct v4l2_format){ .type = stream->queue.type };
		ret = pinhole_forward_format(stream, VIDIOC_G_FMT, f);
	}
	mutex_unlock(&stream->ctx->queue_mutex);
	return ret;
}

int pinhole_enum_framesizes(struct file *file, void *priv,
			    struct v4l2_frmsizeenum *fsize)
{
	struct pinhole_context *ctx = pinhole_file_context(file);
	struct v4l2_frmsize_stepwise *s = &fsize->stepwise;
	u32 index = fsize->index, format = fsize->pixel_format;
	bool good = false;
	int ret;

	ret = pinhole_ioctl(ctx, VIDIOC_ENUM_FRAMESIZES, fsize);
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
		return pinhole_nonsense(ctx->dev, VIDIOC_ENUM_FRAMESIZES);
	return 0;
}

int pinhole_enum_frameintervals(struct file *file, void *priv,
				struct v4l2_frmivalenum *fival)
{
	struct pinhole_context *ctx = pinhole_file_context(file);
	struct v4l2_frmivalenum asked = *fival;
	bool good = false;
	int ret;

	ret = pinhole_ioctl(ctx, VIDIOC_ENUM_FRAMEINTERVALS, fival);
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
		return pinhole_nonsense(ctx->dev, VIDIOC_ENUM_FRAMEINTERVALS);
	return 0;
}
