/* systemd's notification protocol, sd_notify(3): one datagram of VARIABLE=value lines to $NOTIFY_SOCKET. Written out, since it is twenty
 * lines and libsystemd would be the largest library of the daemon. */
#ifndef WEFT_CMD_NOTIFY_H
#define WEFT_CMD_NOTIFY_H

#include <stdint.h>

/* Does nothing when nobody asked for it. */
void notify_send(const char *text);
/* How often "WATCHDOG=1" is to be sent, ms; 0: not wanted (of this process). */
uint64_t notify_watchdog_ms(void);

#endif
