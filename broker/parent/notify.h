/* SPDX-License-Identifier: Apache-2.0 */
/* Tells the service manager how the broker stands (sd_notify's protocol). */
#ifndef BROKER_PARENT_NOTIFY_H
#define BROKER_PARENT_NOTIFY_H

/* Sends 'text' ("READY=1\nSTATUS=…") to 'path', $NOTIFY_SOCKET, where a leading
 * '@' means an abstract socket.  'path' null: nobody asked, 0.  Never blocks. 0
 * or -Exxx. */
int notify_send(const char *path, const char *text);

#endif
