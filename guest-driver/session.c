// SPDX-License-Identifier: GPL-2.0
/*
 * The session with the card, and the ioctls that are forwarded in it.
 */
#include <linux/videodev2.h>

#include "pinhole.h"

/**
 * pinhole_fill_ioctl() - write the header of an ioctl command
 * @req: request of the command
 * @session_id: session
 * @cmd: VIDIOC_*
 *
 * Context: Any.
 * Return: Nothing.
 */
void pinhole_fill_ioctl(void *req, u32 session_id, unsigned int cmd)
{
	struct virtio_media_cmd_ioctl *hdr = req;

	hdr->hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_IOCTL);
	hdr->session_id = cpu_to_le32(session_id);
	hdr->code = cpu_to_le32(_IOC_NR(cmd));
}

/**
 * pinhole_session_new() - open a session
 * @dev: device
 *
 * Context: Process context; session_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_session_new(struct pinhole_device *dev)
{
	struct virtio_media_cmd_header *hdr;
	struct virtio_media_resp_open *resp;
	struct pinhole_cmd *cmd;
	unsigned long flags;
	int ret;

	cmd = pinhole_cmd_alloc(dev, sizeof(*hdr), sizeof(*resp), 0);
	if (IS_ERR(cmd))
		return PTR_ERR(cmd);
	hdr = cmd->req;
	hdr->cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_OPEN);

	ret = pinhole_cmd_call(dev, cmd);
	if (!ret && cmd->used < sizeof(*resp))
		ret = -EIO;
	if (!ret) {
		resp = cmd->resp;
		spin_lock_irqsave(&dev->lock, flags);
		dev->session_id = le32_to_cpu(resp->session_id);
		dev->session_bad = false;
		spin_unlock_irqrestore(&dev->lock, flags);
	}
	pinhole_cmd_release(dev, cmd);
	return ret;
}

/**
 * pinhole_session_close() - close the session
 * @dev: device
 *
 * Once the card has taken the command it writes to no buffer of the session.
 *
 * Context: Process context; session_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_session_close(struct pinhole_device *dev)
{
	struct virtio_media_cmd_close *close;
	struct pinhole_cmd *cmd;
	int ret;

	cmd = pinhole_cmd_alloc(dev, sizeof(*close), 0, 0);
	if (IS_ERR(cmd))
		return PTR_ERR(cmd);
	close = cmd->req;
	close->hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_CLOSE);
	close->session_id = cpu_to_le32(dev->session_id);

	ret = pinhole_cmd_call(dev, cmd);
	pinhole_cmd_release(dev, cmd);
	return ret;
}

/**
 * pinhole_session_ready() - see to it that there is a session to use
 * @dev: device
 *
 * A session that the card gave up is closed, as it must be, and another opened.
 * Events of the old one that are still in the queue are taken out before the
 * new one can have any.
 *
 * Context: Process context; session_mutex is held. May wait for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_session_ready(struct pinhole_device *dev)
{
	int ret;

	if (READ_ONCE(dev->fault))
		return READ_ONCE(dev->fault);
	if (!READ_ONCE(dev->session_bad))
		return 0;

	ret = pinhole_session_close(dev);
	if (!ret) {
		pinhole_events_drain(dev);
		ret = pinhole_session_new(dev);
	}
	if (ret)
		pinhole_set_fault(dev, -EIO, "does not open a new session");
	return ret;
}

/**
 * pinhole_session_ioctl() - forward an ioctl
 * @dev: device
 * @cmd: VIDIOC_*, without pointers in its payload
 * @payload: payload, overwritten with the card's if the ioctl returns one
 *
 * Context: Process context; session_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_session_ioctl(struct pinhole_device *dev, unsigned int cmd,
				 void *payload)
{
	size_t out = _IOC_DIR(cmd) & _IOC_WRITE ? _IOC_SIZE(cmd) : 0;
	size_t in = _IOC_DIR(cmd) & _IOC_READ ? _IOC_SIZE(cmd) : 0;
	struct pinhole_cmd *c;
	int ret;

	c = pinhole_cmd_alloc(dev, sizeof(struct virtio_media_cmd_ioctl) + out,
			      sizeof(struct virtio_media_resp_header) + in, 0);
	if (IS_ERR(c))
		return PTR_ERR(c);
	pinhole_fill_ioctl(c->req, dev->session_id, cmd);
	memcpy(c->req + sizeof(struct virtio_media_cmd_ioctl), payload, out);

	ret = pinhole_cmd_call(dev, c);
	if (!ret && c->used < c->resp_len) {
		dev_err_ratelimited(&dev->vdev->dev,
				    "short answer to ioctl %u: %u of %zu bytes\n",
				    _IOC_NR(cmd), c->used, c->resp_len);
		ret = -EIO;
	}
	if (!ret)
		memcpy(payload,
		       c->resp + sizeof(struct virtio_media_resp_header), in);
	pinhole_cmd_release(dev, c);
	return ret;
}

/**
 * pinhole_ioctl() - forward an ioctl
 * @dev: device
 * @cmd: VIDIOC_*, without pointers in its payload
 * @payload: payload, overwritten with the card's if the ioctl returns one
 *
 * Context: Process context. Takes session_mutex; waits for the card.
 * Return: 0 or a negative errno: the card's own, -EIO if the card does not
 * answer or not sensibly, -ENODEV if it was removed.
 */
int pinhole_ioctl(struct pinhole_device *dev, unsigned int cmd, void *payload)
{
	int ret;

	mutex_lock(&dev->session_mutex);
	ret = pinhole_session_ready(dev);
	if (!ret)
		ret = pinhole_session_ioctl(dev, cmd, payload);
	mutex_unlock(&dev->session_mutex);
	return ret;
}

/**
 * pinhole_session_open() - open the first session
 * @dev: device, ready
 *
 * Context: Process context. Takes session_mutex; waits for the card.
 * Return: 0 or a negative errno.
 */
int pinhole_session_open(struct pinhole_device *dev)
{
	int ret;

	mutex_lock(&dev->session_mutex);
	ret = pinhole_session_new(dev);
	mutex_unlock(&dev->session_mutex);
	return ret;
}

/**
 * pinhole_session_work() - replace a session that the card gave up
 * @work: the device's session_work
 *
 * Context: Workqueue. Takes session_mutex; waits for the card.
 * Return: Nothing.
 */
void pinhole_session_work(struct work_struct *work)
{
	struct pinhole_device *dev = container_of(work, struct pinhole_device,
						  session_work);

	mutex_lock(&dev->session_mutex);
	pinhole_session_ready(dev);
	mutex_unlock(&dev->session_mutex);
}

/**
 * pinhole_wait_qbufs() - wait until every QBUF command is back
 * @dev: device
 *
 * Context: Process context. Waits, for the module's timeout at most.
 * Return: Nothing; the fault is set if they do not come back.
 */
static void pinhole_wait_qbufs(struct pinhole_device *dev)
{
	if (!wait_event_timeout(dev->idle,
				!READ_ONCE(dev->qbufs) || READ_ONCE(dev->fault),
				pinhole_timeout()))
		pinhole_set_fault(dev, -EIO, "does not answer QBUF");
}

/**
 * pinhole_session_stop() - take all buffers back from the card
 * @dev: device
 *
 * After it the card writes to no buffer, or the fault is set. A card that
 * refuses to stop loses its session, which stops it as well.
 *
 * Context: Process context. Takes session_mutex; waits for the card.
 * Return: Nothing.
 */
void pinhole_session_stop(struct pinhole_device *dev)
{
	struct v4l2_requestbuffers none = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.memory = V4L2_MEMORY_USERPTR,
	};
	int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
	unsigned long flags;
	int ret;

	mutex_lock(&dev->session_mutex);
	if (!READ_ONCE(dev->fault) && !READ_ONCE(dev->session_bad) &&
	    dev->session_id == dev->stream_session) {
		ret = pinhole_session_ioctl(dev, VIDIOC_STREAMOFF, &type);
		pinhole_wait_qbufs(dev);
		if (!ret)
			ret = pinhole_session_ioctl(dev, VIDIOC_REQBUFS, &none);
		if (ret) {
			spin_lock_irqsave(&dev->lock, flags);
			dev->session_bad = true;
			spin_unlock_irqrestore(&dev->lock, flags);
		}
	}
	pinhole_session_ready(dev);
	pinhole_wait_qbufs(dev);
	mutex_unlock(&dev->session_mutex);
}
