// SPDX-License-Identifier: GPL-2.0
/*
 * The virtqueues: set up, and taken down by a reset of the device.
 *
 * A device that was reset writes nowhere. Only then are the commands, the events
 * and the buffers that it was given anybody else's again.
 */
#include "pinhole.h"

/**
 * pinhole_virtqueues_up() - set up the virtqueues
 * @dev: device, whose features were negotiated
 *
 * A fault that the device was given up for is over.
 *
 * Context: Process context; nobody else uses the device, or commands.mutex is held.
 * Return: 0 or a negative errno, with pinhole_virtqueues_down() still to be called.
 */
int pinhole_virtqueues_up(struct pinhole_device *dev)
{
	struct virtqueue *vqs[2];
	int ret;

	ret = pinhole_find_vqs(dev->vdev, vqs, pinhole_commands_cb,
			       pinhole_events_cb);
	if (ret)
		return ret;
	pinhole_commands_open(dev, vqs[0]);
	ret = pinhole_events_open(dev, vqs[1]);
	if (!ret)
		ret = pinhole_replace_fault(dev, -EIO, 0);
	if (ret)
		return ret;

	virtio_device_ready(dev->vdev);
	virtqueue_kick(vqs[1]);
	return 0;
}

/*
 * Tells the device once more what it was told before the probe (VIRTIO 1.4,
 * section 3.1.1). It may have become another one that cannot do it any more, or
 * be gone altogether, when its status is all ones.
 */
static int pinhole_negotiate_again(struct virtio_device *vdev)
{
	const u8 agreed = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			  VIRTIO_CONFIG_S_FEATURES_OK;
	int ret;

	virtio_add_status(vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	virtio_add_status(vdev, VIRTIO_CONFIG_S_DRIVER);
	ret = vdev->config->finalize_features(vdev);
	if (ret)
		return ret;
	virtio_add_status(vdev, VIRTIO_CONFIG_S_FEATURES_OK);
	return vdev->config->get_status(vdev) == agreed ? 0 : -EIO;
}

/* As pinhole_virtqueues_up(), of a device that was reset; it is so on failure. */
int pinhole_virtqueues_up_again(struct pinhole_device *dev)
{
	int ret;

	lockdep_assert_held(&dev->commands.mutex);
	ret = pinhole_negotiate_again(dev->vdev);
	if (!ret)
		ret = pinhole_virtqueues_up(dev);
	if (ret)
		pinhole_virtqueues_down(dev);
	return ret;
}

/**
 * pinhole_virtqueues_down() - reset the device and take the virtqueues down
 * @dev: device, with the fault set: nothing is submitted any more
 *
 * The virtqueues, which there may be none of, go when nobody notifies the device
 * any more. The reset takes as long as the machine monitor has it take.
 *
 * Context: Process context.
 */
void pinhole_virtqueues_down(struct pinhole_device *dev)
{
	lockdep_assert_held(&dev->commands.mutex);
	dev->up->reset(dev);
	pinhole_reset_device(dev->vdev);
	if (!dev->commands.ring.vq)
		return;
	pinhole_commands_detach(dev);
	pinhole_events_detach(dev);
	synchronize_rcu();
	dev->vdev->config->del_vqs(dev->vdev);
}
