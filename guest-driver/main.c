// SPDX-License-Identifier: GPL-2.0
/*
 * pinhole: a V4L2 capture driver for the virtio media device (VIRTIO 1.4).
 *
 * The driver opens one session with the card and runs the buffer queue in the
 * guest's own videobuf2. The card is given scatter lists of guest memory, and
 * needs no memory of its own.
 */
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "command.h"
#include "controls.h"
#include "memory.h"
#include "pinhole.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static unsigned int standin_id;
module_param(standin_id, uint, 0444);
MODULE_PARM_DESC(standin_id,
		 "bind this virtio device id, too, for machine monitors that have no media device (default: 0, none)");

static unsigned int timeout_ms = 5000;
module_param(timeout_ms, uint, 0644);
MODULE_PARM_DESC(timeout_ms,
		 "milliseconds after which a card that does not answer is given up (default: 5000, at least 100)");

static bool native_userptr;
module_param(native_userptr, bool, 0644);
MODULE_PARM_DESC(native_userptr,
		 "pin user pointers by the kernel's vb2_dma_sg_memops instead of the driver's own operations (default: N)");

/**
 * pinhole_timeout() - how long the card may take to answer
 *
 * Context: Any.
 * Return: The time in jiffies.
 */
unsigned long pinhole_timeout(void)
{
	return msecs_to_jiffies(max(READ_ONCE(timeout_ms), 100U));
}

/**
 * pinhole_native_userptr() - who pins user pointers
 *
 * Context: Any.
 * Return: True if vb2_dma_sg_memops does.
 */
bool pinhole_native_userptr(void)
{
	return READ_ONCE(native_userptr);
}

/**
 * pinhole_release() - nobody uses the device any more
 * @v4l2_dev: V4L2 device
 *
 * Called after removal, when the last open file has been closed.
 *
 * Context: Process context.
 * Return: Nothing.
 */
static void pinhole_release(struct v4l2_device *v4l2_dev)
{
	struct pinhole_device *dev = container_of(v4l2_dev,
						  struct pinhole_device,
						  v4l2_dev);

	pinhole_controls_free(dev);
	pinhole_cmd_release(dev, dev->ping);
	pinhole_cmd_release(dev, dev->close_cmd);
	put_device(dev->dma_dev);
	put_device(&dev->vdev->dev);
	mutex_destroy(&dev->session_mutex);
	mutex_destroy(&dev->queue_mutex);
	mutex_destroy(&dev->ioctl_mutex);
	kfree(dev);
}

/**
 * pinhole_read_config() - read what the card is
 * @dev: device
 *
 * Context: Process context.
 * Return: 0, or -ENODEV if it is nothing that this driver can drive.
 */
static int pinhole_read_config(struct pinhole_device *dev)
{
	struct virtio_device *vdev = dev->vdev;
	u32 caps, type;

	virtio_cread_le(vdev, struct virtio_media_config, device_caps, &caps);
	virtio_cread_le(vdev, struct virtio_media_config, device_type, &type);
	virtio_cread_bytes(vdev, offsetof(struct virtio_media_config, card),
			   dev->card, sizeof(dev->card) - 1);
	if (!dev->card[0])
		strscpy(dev->card, "virtio-media", sizeof(dev->card));

	if (caps & V4L2_CAP_VIDEO_CAPTURE)
		dev->queue.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
	else if (caps & V4L2_CAP_VIDEO_CAPTURE_MPLANE)
		dev->queue.type = V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;

	if (type != VFL_TYPE_VIDEO || !dev->queue.type ||
	    !(caps & V4L2_CAP_STREAMING)) {
		dev_err(&vdev->dev,
			"not a capture card: device type %u, capabilities 0x%08x\n",
			type, caps);
		return -ENODEV;
	}
	return 0;
}

/**
 * pinhole_limit_segments() - tell the DMA API how long a segment may be
 * @dma_dev: device that does the DMA
 *
 * A bus gives its devices limits that few of them have: PCI 64 KiB a segment,
 * and none across a multiple of 4 GiB. Entries have 64 bits for the address and
 * 32 for the length, so that only a bounce buffer, or an IOMMU, sets a limit.
 * Memory of vb2_dma_sg_memops comes in segments of any length, which the DMA
 * API complains of where they exceed the device's (CONFIG_DMA_API_DEBUG_SG).
 *
 * Context: Process context.
 */
static void pinhole_limit_segments(struct device *dma_dev)
{
	if (!dma_dev->dma_parms)
		return;
	dma_set_max_seg_size(dma_dev, min_t(size_t, UINT_MAX,
					    dma_max_mapping_size(dma_dev)));
	dma_set_seg_boundary(dma_dev, ULONG_MAX);
}

/**
 * pinhole_probe_dma() - find out what addresses the card wants
 * @dev: device
 *
 * Without VIRTIO_F_ACCESS_PLATFORM they are guest-physical. Whether those are
 * what the DMA API hands out is tried on a page: an IOMMU or bounce buffers
 * would change them.
 *
 * Context: Process context.
 * Return: 0 or a negative errno.
 */
static int pinhole_probe_dma(struct pinhole_device *dev)
{
	struct page *page;
	dma_addr_t addr;

	pinhole_limit_segments(dev->dma_dev);
	dev->use_dma = !virtio_has_dma_quirk(dev->vdev);
	if (dev->use_dma)
		return 0;

	page = alloc_page(GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	addr = dma_map_page(dev->dma_dev, page, 0, PAGE_SIZE, PINHOLE_DMA_DIR);
	if (!dma_mapping_error(dev->dma_dev, addr)) {
		dev->dma_identity = addr == page_to_phys(page);
		dma_unmap_page(dev->dma_dev, addr, PAGE_SIZE, PINHOLE_DMA_DIR);
	}
	__free_page(page);
	return 0;
}

/**
 * pinhole_start_virtio() - set up the virtqueues and open a session
 * @dev: device
 *
 * Context: Process context. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_start_virtio(struct pinhole_device *dev)
{
	struct virtio_device *vdev = dev->vdev;
	struct virtqueue *vqs[2];
	int ret;

	ret = pinhole_find_vqs(vdev, vqs, pinhole_commandq_cb,
			       pinhole_eventq_cb);
	if (ret)
		return ret;
	dev->commandq = vqs[0];
	dev->eventq = vqs[1];
	dev->command_slots = virtqueue_get_vring_size(dev->commandq);

	ret = pinhole_events_init(dev);
	if (ret)
		return ret;

	virtio_device_ready(vdev);
	virtqueue_kick(dev->eventq);
	return pinhole_session_open(dev);
}

/**
 * pinhole_stop_virtio() - reset the card and take back what it was given
 * @dev: device; its virtqueues may not have been found
 *
 * When the fault is set nothing is submitted any more, and whoever waits for
 * the card goes home. After the reset it writes nowhere; only then may the
 * commands, the events and the memory it was given be freed.
 *
 * Context: Process context. May wait for the machine monitor.
 * Return: Nothing.
 */
static void pinhole_stop_virtio(struct pinhole_device *dev)
{
	pinhole_set_fault(dev, -ENODEV, NULL);
	cancel_delayed_work_sync(&dev->session_work);
	cancel_delayed_work_sync(&dev->control_work);
	pinhole_watchdog_stop(dev);
	pinhole_reset_device(dev->vdev);
	if (dev->commandq) {
		pinhole_cmds_detach(dev);
		pinhole_events_free(dev);
		dev->vdev->config->del_vqs(dev->vdev);
	}
	pinhole_mem_free_held(dev);
}

/**
 * pinhole_probe_memory() - find out whether the card takes the guest's memory
 * @dev: device with a session
 *
 * A card whose buffers are its own only (MMAP on the wire) can be looked at,
 * and not streamed from: that is said here, and not by every STREAMON.
 *
 * Context: Process context. Waits for the card.
 * Return: 0, or a negative errno if the card was not asked.
 */
static int pinhole_probe_memory(struct pinhole_device *dev)
{
	struct v4l2_requestbuffers none = {
		.type = dev->queue.type,
		.memory = V4L2_MEMORY_USERPTR,
	};
	int ret = pinhole_ioctl(dev, VIDIOC_REQBUFS, &none);

	if (pinhole_is_local(ret) || READ_ONCE(dev->fault))
		return ret;
	if (ret)
		dev_err(&dev->vdev->dev,
			"the card takes no buffers in guest memory (SHARED_PAGES), which is all that this driver has: error %d\n",
			ret);
	return 0;
}

/**
 * pinhole_probe() - a card was found
 * @vdev: virtio device
 *
 * Context: Process context. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_probe(struct virtio_device *vdev)
{
	struct pinhole_device *dev;
	int ret;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	if (!dev)
		return -ENOMEM;

	mutex_init(&dev->ioctl_mutex);
	mutex_init(&dev->queue_mutex);
	mutex_init(&dev->session_mutex);
	spin_lock_init(&dev->lock);
	INIT_LIST_HEAD(&dev->pending);
	INIT_LIST_HEAD(&dev->inflight);
	INIT_LIST_HEAD(&dev->orphans);
	INIT_LIST_HEAD(&dev->buffers);
	INIT_LIST_HEAD(&dev->held_mem);
	INIT_LIST_HEAD(&dev->controls);
	INIT_DELAYED_WORK(&dev->session_work, pinhole_session_work);
	INIT_DELAYED_WORK(&dev->control_work, pinhole_control_work);
	init_waitqueue_head(&dev->idle);
	dev->heard = jiffies;
	dev->vdev = vdev;
	dev->dma_dev = get_device(vdev->dev.parent);
	get_device(&vdev->dev);
	vdev->priv = dev;

	ret = v4l2_device_register(&vdev->dev, &dev->v4l2_dev);
	if (ret) {
		pinhole_release(&dev->v4l2_dev);
		return ret;
	}
	dev->v4l2_dev.release = pinhole_release;

	ret = pinhole_read_config(dev);
	if (ret)
		goto err_v4l2;
	ret = pinhole_queue_init(dev);
	if (ret)
		goto err_v4l2;
	ret = pinhole_probe_dma(dev);
	if (ret)
		goto err_v4l2;
	ret = pinhole_watchdog_init(dev);
	if (ret)
		goto err_v4l2;
	ret = pinhole_start_virtio(dev);
	if (ret)
		goto err_virtio;
	ret = pinhole_probe_memory(dev);
	if (ret)
		goto err_virtio;
	ret = pinhole_controls_init(dev);
	if (ret)
		goto err_virtio;
	ret = pinhole_register_node(dev);
	if (ret)
		goto err_virtio;

	dev_info(&vdev->dev, "%s as %s\n", dev->card,
		 video_device_node_name(&dev->video_dev));
	return 0;

err_virtio:
	pinhole_stop_virtio(dev);
err_v4l2:
	v4l2_device_unregister(&dev->v4l2_dev);
	v4l2_device_put(&dev->v4l2_dev);
	return ret;
}

/**
 * pinhole_remove() - a card goes away
 * @vdev: virtio device
 *
 * The node may be open and the stream running. The card is reset first, so
 * that the buffers can be freed; the node is unregistered with its queue, which
 * frees them. Files that are still open keep the structure, and get -ENODEV.
 *
 * Context: Process context.
 * Return: Nothing.
 */
static void pinhole_remove(struct virtio_device *vdev)
{
	struct pinhole_device *dev = vdev->priv;

	pinhole_stop_virtio(dev);
	vb2_video_unregister_device(&dev->video_dev);
	v4l2_device_unregister(&dev->v4l2_dev);
	v4l2_device_put(&dev->v4l2_dev);
}

/* The entry of the stand-in is filled in before the driver is registered. */
static struct virtio_device_id pinhole_ids[] = {
	{ VIRTIO_MEDIA_DEVICE_ID, VIRTIO_DEV_ANY_ID },
	{ 0 },
	{ 0 },
};
MODULE_DEVICE_TABLE(virtio, pinhole_ids);

#ifdef CONFIG_PM_SLEEP
/**
 * pinhole_freeze() - the system wants to suspend
 * @vdev: virtio device
 *
 * The card would be reset on the way back, under its session and its streams.
 * Without this the virtio core goes ahead all the same.
 *
 * Context: Process context.
 * Return: -EOPNOTSUPP.
 */
static int pinhole_freeze(struct virtio_device *vdev)
{
	dev_warn(&vdev->dev, "a card cannot be suspended; unbind the driver\n");
	return -EOPNOTSUPP;
}

/**
 * pinhole_restore() - the system has come back, which cannot be
 * @vdev: virtio device
 *
 * Context: Process context.
 * Return: -EOPNOTSUPP.
 */
static int pinhole_restore(struct virtio_device *vdev)
{
	return -EOPNOTSUPP;
}
#endif

static struct virtio_driver pinhole_driver = {
	.driver.name = KBUILD_MODNAME,
	.driver.owner = THIS_MODULE,
	.id_table = pinhole_ids,
	.probe = pinhole_probe,
	.remove = pinhole_remove,
#ifdef CONFIG_PM_SLEEP
	.freeze = pinhole_freeze,
	.restore = pinhole_restore,
#endif
};

/**
 * pinhole_init() - load the module
 *
 * Context: Process context.
 * Return: 0 or a negative errno.
 */
static int __init pinhole_init(void)
{
	if (standin_id) {
		pinhole_ids[1].device = standin_id;
		pinhole_ids[1].vendor = VIRTIO_DEV_ANY_ID;
	}
	return register_virtio_driver(&pinhole_driver);
}
module_init(pinhole_init);

/**
 * pinhole_exit() - unload the module
 *
 * Context: Process context.
 * Return: Nothing.
 */
static void __exit pinhole_exit(void)
{
	unregister_virtio_driver(&pinhole_driver);
}
module_exit(pinhole_exit);

MODULE_DESCRIPTION("V4L2 capture driver for the virtio media device");
MODULE_AUTHOR("The Pinhole authors");
MODULE_LICENSE("GPL");
PINHOLE_IMPORT_DMA_BUF;
