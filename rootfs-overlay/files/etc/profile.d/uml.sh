# File systems that this kernel can mount; the agent says the same to cases.
case "$(uname -r)" in
    2.*|3.[0-4]|3.[0-4][.-]*) export MKE2FS_CONFIG=/etc/uml/mke2fs-before-3.5.conf ;;
esac
