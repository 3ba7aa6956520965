/* The commands that talk to a gateway, as main() calls them (see struct eg_command). */
#ifndef EG_CLIENT_COMMANDS_H
#define EG_CLIENT_COMMANDS_H

int eg_tail_command(int argc, char *const *argv, char *const *environment);
int eg_publish_command(int argc, char *const *argv, char *const *environment);
int eg_healthcheck_command(int argc, char *const *argv, char *const *environment);

#endif
