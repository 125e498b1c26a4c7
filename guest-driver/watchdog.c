// SPDX-License-Identifier: GPL-2.0
/*
 * The watchdog of a stream.
 *
 * Nobody waits for the answer to a QBUF, and a card may be silent for as long
 * as no frame is due. So that a card that died is told from one that has
 * nothing to say, a silent card is asked for its input: any answer will do.
 */
#include "command.h"
#include "pinhole.h"

/**
 * pinhole_ping_complete() - the card has answered the ping, or never will
 * @dev: device
 * @cmd: the ping
 *
 * A card that does not know the session any more has given it up.
 *
 * Context: Any; the device's lock is held.
 * Return: Nothing.
 */
static void pinhole_ping_complete(struct pinhole_device *dev,
				  struct pinhole_cmd *cmd)
{
	struct virtio_media_cmd_ioctl *hdr = cmd->req;

	if (!dev->fault && cmd->result == -ENODEV &&
	    le32_to_cpu(hdr->session_id) == dev->session_id)
		pinhole_session_lost(dev);
}

/**
 * pinhole_watchdog_check() - look whether the card is alive
 * @dev: device
 *
 * Context: Any; the device's lock is held.
 * Return: NULL, or what the card does wrong.
 */
static const char *pinhole_watchdog_check(struct pinhole_device *dev)
{
	unsigned long timeout = pinhole_timeout();
	struct pinhole_cmd *oldest;

	if (virtqueue_is_broken(dev->commandq) ||
	    virtqueue_is_broken(dev->eventq))
		return "broke a virtqueue";

	oldest = list_first_entry_or_null(&dev->inflight, struct pinhole_cmd,
					  node);
	if (oldest)
		return time_after(jiffies, oldest->since + timeout) ?
		       "does not answer a command" : NULL;

	if (time_after(jiffies, dev->heard + timeout / 4)) {
		pinhole_fill_ioctl(dev->ping->req, dev->session_id,
				   VIDIOC_G_INPUT);
		pinhole_cmd_submit(dev, dev->ping);
	}
	return NULL;
}

/**
 * pinhole_watchdog_work() - check the card, and again after a while
 * @work: the device's watchdog
 *
 * Context: Workqueue. Takes the device's lock.
 * Return: Nothing.
 */
static void pinhole_watchdog_work(struct work_struct *work)
{
	struct pinhole_device *dev = container_of(to_delayed_work(work),
						  struct pinhole_device,
						  watchdog);
	const char *wrong = NULL;
	unsigned long flags;
	bool fault;

	pinhole_rings_look(dev);
	spin_lock_irqsave(&dev->lock, flags);
	fault = dev->fault;
	if (!fault)
		wrong = pinhole_watchdog_check(dev);
	spin_unlock_irqrestore(&dev->lock, flags);

	if (wrong)
		pinhole_set_fault(dev, -EIO, wrong);
	else if (!fault)
		pinhole_watchdog_start(dev);
}

/**
 * pinhole_watchdog_init() - prepare the watchdog
 * @dev: device
 *
 * Context: Process context.
 * Return: 0 or -ENOMEM.
 */
int pinhole_watchdog_init(struct pinhole_device *dev)
{
	struct pinhole_cmd *ping;

	INIT_DELAYED_WORK(&dev->watchdog, pinhole_watchdog_work);
	ping = pinhole_cmd_alloc(dev, sizeof(struct virtio_media_cmd_ioctl),
				 sizeof(struct virtio_media_resp_header) +
				 _IOC_SIZE(VIDIOC_G_INPUT), 0);
	if (IS_ERR(ping))
		return PTR_ERR(ping);
	ping->complete = pinhole_ping_complete;
	dev->ping = ping;
	return 0;
}

/**
 * pinhole_watchdog_start() - have the watchdog look in a while
 * @dev: device
 *
 * Context: Any.
 * Return: Nothing.
 */
void pinhole_watchdog_start(struct pinhole_device *dev)
{
	schedule_delayed_work(&dev->watchdog, pinhole_timeout() / 8 + 1);
}

/**
 * pinhole_watchdog_stop() - stop the watchdog
 * @dev: device
 *
 * Context: Process context. Waits for a check that is under way.
 * Return: Nothing.
 */
void pinhole_watchdog_stop(struct pinhole_device *dev)
{
	cancel_delayed_work_sync(&dev->watchdog);
}
