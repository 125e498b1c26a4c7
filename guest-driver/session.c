// SPDX-License-Identifier: GPL-2.0
/*
 * The session with the card, and the ioctls that are forwarded in it.
 */
#include <linux/videodev2.h>

#include "command.h"
#include "controls.h"
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
 * pinhole_session_lost() - the card has given up the session
 * @dev: device
 *
 * Context: Any; the device's lock is held, and no fault is set.
 */
void pinhole_session_lost(struct pinhole_device *dev)
{
	dev->session_bad = true;
	mod_delayed_work(system_wq, &dev->session_work, 0);
	pinhole_stream_fail(dev, "gave up the session");
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

	ret = pinhole_cmd_call(dev, cmd, false);
	if (!ret && cmd->used < sizeof(*resp))
		ret = -EIO;
	if (!ret) {
		resp = cmd->resp;
		spin_lock_irqsave(&dev->lock, flags);
		dev->session_id = le32_to_cpu(resp->session_id);
		dev->session_bad = false;
		spin_unlock_irqrestore(&dev->lock, flags);
		dev->session_open = true;
	}
	pinhole_cmd_release(dev, cmd);
	return ret;
}

/**
 * pinhole_session_close() - close the session
 * @dev: device
 *
 * Once the card has taken the command it writes to no buffer of the session.
 * It fails only with the card: the command was allocated beforehand.
 *
 * Context: Process context; session_mutex is held. Waits for the card.
 * Return: 0 or a negative errno, with the fault set.
 */
static int pinhole_session_close(struct pinhole_device *dev)
{
	struct virtio_media_cmd_close *close = dev->close_cmd->req;
	int ret;

	close->hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_CLOSE);
	close->session_id = cpu_to_le32(dev->session_id);
	ret = pinhole_cmd_call(dev, dev->close_cmd, false);
	if (!ret)
		dev->session_open = false;
	return ret;
}

/**
 * pinhole_session_ready() - see to it that there is a session to use
 * @dev: device
 *
 * A session that the card gave up is closed, as it must be, and another opened.
 * Events of the old one that are still in the queue are taken out before the
 * new one can have any. Subscriptions went with the old session, and changes
 * of controls may have been missed.
 *
 * Want of memory, here or at the card, gives up nothing, nor does the end of the
 * process: the buffers went with the old session, and another is opened by the
 * next that needs it. A card that takes for ever over it is given up: so many
 * commands, each answered just in time, would keep everybody waiting.
 *
 * Context: Process context; session_mutex is held. May wait for the card.
 * Return: 0 or a negative errno.
 */
int pinhole_session_ready(struct pinhole_device *dev)
{
	unsigned long flags;
	int ret;

	if (READ_ONCE(dev->fault))
		return READ_ONCE(dev->fault);
	if (!READ_ONCE(dev->session_bad))
		return 0;

	if (dev->session_open) {
		ret = pinhole_session_close(dev);
		if (ret)
			return ret;
		pinhole_events_drain(dev);
	}
	ret = pinhole_session_new(dev);
	if (ret == -ENOMEM)
		goto err_retry;
	if (ret) {
		pinhole_set_fault(dev, -EIO, "does not open a new session");
		return ret;
	}
	ret = pinhole_session_subscribe(dev);
	if (ret == -ETIMEDOUT) {
		pinhole_set_fault(dev, -EIO, "is too slow for a new session");
		return -EIO;
	}
	if (ret)
		goto err_retry;
	pinhole_controls_stale(dev);
	return 0;

err_retry:
	spin_lock_irqsave(&dev->lock, flags);
	dev->session_bad = true;
	if (!dev->fault)
		schedule_delayed_work(&dev->session_work, PINHOLE_RETRY);
	spin_unlock_irqrestore(&dev->lock, flags);
	return ret;
}

/**
 * pinhole_session_call() - forward an ioctl
 * @dev: device
 * @call: ioctl
 *
 * Context: Process context; session_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_session_call(struct pinhole_device *dev,
				const struct pinhole_call *call)
{
	size_t out = _IOC_DIR(call->cmd) & _IOC_WRITE ? call->length : 0;
	size_t in = _IOC_DIR(call->cmd) & _IOC_READ ? call->length : 0;
	struct pinhole_cmd *c;
	int ret;

	c = pinhole_cmd_alloc(dev, sizeof(struct virtio_media_cmd_ioctl) + out,
			      sizeof(struct virtio_media_resp_header) + in,
			      call->data ? 1 : 0);
	if (IS_ERR(c))
		return PTR_ERR(c);
	pinhole_fill_ioctl(c->req, dev->session_id, call->cmd);
	memcpy(c->req + sizeof(struct virtio_media_cmd_ioctl), call->payload,
	       out);
	if (call->data) {
		ret = pinhole_cmd_attach(dev, c, call->data, call->data_length);
		if (ret)
			goto out;
	}

	ret = pinhole_cmd_call(dev, c, true);
	if (!ret && c->used < c->resp_len) {
		dev_err_ratelimited(&dev->vdev->dev,
				    "short answer to ioctl %u: %u of %zu bytes\n",
				    _IOC_NR(call->cmd), c->used, c->resp_len);
		ret = -EIO;
	}
	if (ret)
		goto out;
	memcpy(call->payload,
	       c->resp + sizeof(struct virtio_media_resp_header), in);
	if (call->data && call->cmd == VIDIOC_G_EXT_CTRLS)
		pinhole_cmd_fetch(dev, c, call->data, call->data_length);
out:
	pinhole_cmd_release(dev, c);
	return ret;
}

/**
 * pinhole_session_ioctl() - forward an ioctl whose payload has no pointers
 * @dev: device
 * @cmd: VIDIOC_*
 * @payload: payload, overwritten with the card's if the ioctl returns one
 *
 * Context: Process context; session_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
int pinhole_session_ioctl(struct pinhole_device *dev, unsigned int cmd,
			  void *payload)
{
	struct pinhole_call call = {
		.cmd = cmd,
		.payload = payload,
		.length = _IOC_SIZE(cmd),
	};

	return pinhole_session_call(dev, &call);
}

/**
 * pinhole_call_locked() - forward an ioctl
 * @dev: device
 * @call: ioctl
 *
 * -ENODEV from a card that is there says that it gave up the session, and comes
 * before the event that does when the card had no time for the event yet. The
 * ioctl then goes to the session that follows.
 *
 * Context: Process context; session_mutex is held. Waits for the card.
 * Return: As pinhole_call().
 */
static int pinhole_call_locked(struct pinhole_device *dev,
			       const struct pinhole_call *call)
{
	unsigned long flags;
	int ret;

	ret = pinhole_session_ready(dev);
	if (!ret)
		ret = pinhole_session_call(dev, call);
	if (ret == -ENODEV && !READ_ONCE(dev->fault)) {
		spin_lock_irqsave(&dev->lock, flags);
		if (!dev->fault)
			pinhole_session_lost(dev);
		spin_unlock_irqrestore(&dev->lock, flags);
		ret = pinhole_session_ready(dev);
		if (!ret)
			ret = pinhole_session_call(dev, call);
	}
	return ret;
}

/**
 * pinhole_call() - forward an ioctl
 * @dev: device
 * @call: ioctl
 *
 * Context: Process context. Takes session_mutex; waits for the card.
 * Return: 0 or a negative errno: the card's own, -EIO if the card does not
 * answer or not sensibly, -ENODEV if it was removed, -ERESTARTSYS if the process
 * was killed.
 */
int pinhole_call(struct pinhole_device *dev, const struct pinhole_call *call)
{
	int ret;

	if (mutex_lock_killable(&dev->session_mutex))
		return -ERESTARTSYS;
	ret = pinhole_call_locked(dev, call);
	mutex_unlock(&dev->session_mutex);
	return ret;
}

/**
 * pinhole_ioctl() - forward an ioctl whose payload has no pointers
 * @dev: device
 * @cmd: VIDIOC_*
 * @payload: payload, overwritten with the card's if the ioctl returns one
 *
 * Context: Process context. Takes session_mutex; waits for the card.
 * Return: As pinhole_call().
 */
int pinhole_ioctl(struct pinhole_device *dev, unsigned int cmd, void *payload)
{
	struct pinhole_call call = {
		.cmd = cmd,
		.payload = payload,
		.length = _IOC_SIZE(cmd),
	};

	return pinhole_call(dev, &call);
}

/**
 * pinhole_nonsense() - the card's answer to an ioctl makes no sense
 * @dev: device
 * @cmd: VIDIOC_*
 *
 * What the card answers goes to applications only after it was looked at:
 * sizes that are none, fractions that divide by zero and strings without end
 * are logged once an ioctl and turned into -EIO.
 *
 * Context: Any.
 * Return: -EIO.
 */
int pinhole_nonsense(struct pinhole_device *dev, unsigned int cmd)
{
	if (!test_and_set_bit(_IOC_NR(cmd), dev->complaints))
		dev_err(&dev->vdev->dev,
			"the card's answer to ioctl %u makes no sense\n",
			_IOC_NR(cmd));
	return -EIO;
}

/**
 * pinhole_session_begin() - begin a stream, in a session that knows its buffers
 * @dev: device
 * @req: number of buffers, overwritten with the card's
 *
 * A session that was lost before is replaced, and nothing with it. From here on
 * the stream and the session are bound to each other.
 *
 * Context: Process context. Takes session_mutex; waits for the card.
 * Return: 0, with the stream STARTING, or a negative errno as pinhole_call().
 */
int pinhole_session_begin(struct pinhole_device *dev,
			  struct v4l2_requestbuffers *req)
{
	const struct pinhole_call call = {
		.cmd = VIDIOC_REQBUFS,
		.payload = req,
		.length = sizeof(*req),
	};
	unsigned long flags;
	int ret;

	if (mutex_lock_killable(&dev->session_mutex))
		return -ERESTARTSYS;
	ret = pinhole_call_locked(dev, &call);
	if (!ret) {
		spin_lock_irqsave(&dev->lock, flags);
		dev->stream = PINHOLE_STARTING;
		dev->stream_session = dev->session_id;
		dev->sequence = 0;
		spin_unlock_irqrestore(&dev->lock, flags);
	} else if (ret == -ERESTARTSYS) {
		/* Buffers that nobody knows of would keep the format as it is. */
		spin_lock_irqsave(&dev->lock, flags);
		dev->session_bad = true;
		if (!dev->fault)
			mod_delayed_work(system_wq, &dev->session_work, 0);
		spin_unlock_irqrestore(&dev->lock, flags);
	}
	mutex_unlock(&dev->session_mutex);
	return ret;
}

/**
 * pinhole_stream_ioctl() - forward an ioctl in the session of the stream
 * @dev: device, its stream begun
 * @cmd: VIDIOC_*
 * @payload: payload, overwritten with the card's if the ioctl returns one
 *
 * Another session has none of the stream's buffers.
 *
 * Context: Process context. Takes session_mutex; waits for the card.
 * Return: As pinhole_call(); -EIO if the session is gone.
 */
int pinhole_stream_ioctl(struct pinhole_device *dev, unsigned int cmd,
			 void *payload)
{
	unsigned long flags;
	int ret;

	if (mutex_lock_killable(&dev->session_mutex))
		return -ERESTARTSYS;
	if (READ_ONCE(dev->fault)) {
		ret = READ_ONCE(dev->fault);
	} else if (READ_ONCE(dev->session_bad) ||
		   dev->session_id != dev->stream_session) {
		ret = -EIO;
	} else {
		ret = pinhole_session_ioctl(dev, cmd, payload);
		spin_lock_irqsave(&dev->lock, flags);
		if (ret == -ENODEV && !dev->fault) {
			pinhole_session_lost(dev);
			ret = -EIO;
		}
		spin_unlock_irqrestore(&dev->lock, flags);
	}
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
	struct pinhole_cmd *cmd;
	int ret;

	cmd = pinhole_cmd_alloc(dev, sizeof(struct virtio_media_cmd_close), 0,
				0);
	if (IS_ERR(cmd))
		return PTR_ERR(cmd);
	dev->close_cmd = cmd;

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
	struct pinhole_device *dev = container_of(to_delayed_work(work),
						  struct pinhole_device,
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
				pinhole_timeout())) {
		pinhole_rings_look(dev);
		if (READ_ONCE(dev->qbufs))
			pinhole_set_fault(dev, -EIO, "does not answer QBUF");
	}
}

/**
 * pinhole_session_stop() - take all buffers back from the card
 * @dev: device
 *
 * After it the card writes to no buffer, or the fault is set. A card that
 * refuses to stop, or cannot be told to for want of memory, loses its session,
 * which stops it as well. Another is opened by who needs it: this waits for no
 * more than it must, for no signal ends it.
 *
 * Context: Process context. Takes session_mutex; waits for the card.
 * Return: Nothing.
 */
void pinhole_session_stop(struct pinhole_device *dev)
{
	struct v4l2_requestbuffers none = {
		.type = dev->queue.type,
		.memory = V4L2_MEMORY_USERPTR,
	};
	int type = dev->queue.type;
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
	if (!READ_ONCE(dev->fault) && READ_ONCE(dev->session_bad)) {
		if (dev->session_open && !pinhole_session_close(dev))
			pinhole_events_drain(dev);
		spin_lock_irqsave(&dev->lock, flags);
		if (!dev->fault)
			mod_delayed_work(system_wq, &dev->session_work, 0);
		spin_unlock_irqrestore(&dev->lock, flags);
	}
	pinhole_wait_qbufs(dev);
	mutex_unlock(&dev->session_mutex);
}
