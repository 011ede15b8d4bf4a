/* C side of the bindings: what DPDK offers only as inline functions, macros or thread-locals. */
#ifndef SKIFF_DPDK_SHIM_H
#define SKIFF_DPDK_SHIM_H

#include <stddef.h>
#include <stdint.h>

struct rte_mbuf;
struct rte_mempool;
struct rte_ring;

/* Called once for each chunk DPDK logs; `level` is an RTE_LOG_* value, 1 (emergency) to 8 (debug). */
typedef void (*skiff_log_fn)(uint32_t level, const char *text, size_t len);

/* Sends all of DPDK's logging to `sink`. Returns 0, or -1 when no stream could be made. */
int skiff_log_open(skiff_log_fn sink);

/* rte_errno and rte_lcore_id() of the calling thread. */
int skiff_errno(void);
uint32_t skiff_lcore_id(void);

/* Bursts. */
uint16_t skiff_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n);
uint16_t skiff_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n);
/* 1 if the descriptor holds a packet that is still to be sent, 0 if not, or a negative errno. */
int skiff_tx_descriptor_waits(uint16_t port, uint16_t queue, uint16_t offset);
int skiff_rx_queue_count(uint16_t port, uint16_t queue);
uint32_t skiff_ring_enqueue_burst(struct rte_ring *ring, struct rte_mbuf **pkts, uint32_t n);
uint32_t skiff_ring_dequeue_burst(struct rte_ring *ring, struct rte_mbuf **pkts, uint32_t n);
uint32_t skiff_ring_count(const struct rte_ring *ring);
uint32_t skiff_ring_free_count(const struct rte_ring *ring);

/* Raw objects of a pool, through the calling lcore's cache. get returns 0 (all of them) or < 0 (none). */
int skiff_mempool_get_bulk(struct rte_mempool *pool, struct rte_mbuf **pkts, uint32_t n);
void skiff_mempool_put_bulk(struct rte_mempool *pool, struct rte_mbuf **pkts, uint32_t n);

/* Frees one packet with all its segments, whatever they are attached to. */
void skiff_pktmbuf_free(struct rte_mbuf *pkt);

/* Link state without waiting: the speed in Mbit/s, UINT32_MAX when unknown. Returns 0 or -errno. */
int skiff_link_get(uint16_t port, uint32_t *speed_mbps, int *up, int *full_duplex);

#endif
